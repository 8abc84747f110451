/** The checks of inputs, the pairing secret, and the catalogue of errors. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import catalogue from "../catalogue.json" with { type: "json" };
import { Fault as FaultNumber } from "../src/generated/decode/jarvis/provisioning/v1/fault.js";
import {
  FAULTS,
  LANGUAGES,
  PairingSecret,
  ProvisioningError,
  checkCredentials,
  checkEnterprise,
  checkPassphrase,
  checkSsid,
  checkUrl,
  errorText,
  faultName,
  newRequestId,
} from "../src/index.js";
import type { Enterprise, FaultName, LoginField } from "../src/index.js";
import { concat, utf8 } from "../src/bytes.js";
import { ROOT } from "./support/vectors.js";

test("the faults are those of the .proto file", () => {
  const constants = Object.entries(FaultNumber).filter(([, number]) => number > 0);
  const camel = (name: string) => name.toLowerCase().replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
  assert.deepEqual(
    FAULTS.map(({ name, number }) => [name, number]),
    constants.map(([name, number]) => [camel(name), number]),
  );
  assert.equal(faultName(FaultNumber.WRONG_PASSWORD), "WrongPassword");
  assert.equal(faultName(4711), undefined);
});

test("the English texts are those of the protocol document", () => {
  const document = readFileSync(join(ROOT, "docs/protocol.md"), "utf8");
  for (const { name, number, retry } of FAULTS) {
    const constant = name.replace(/(?<=[a-z0-9])[A-Z]|K2/g, (letters) => `_${letters}`).toUpperCase();
    assert.ok(document.includes(`| ${number} | \`FAULT_${constant}\` | ${retry ? "yes" : "no"} | ${errorText(name)} |`), constant);
  }
});

test("every error has one text in every language", () => {
  for (const row of [...catalogue.faults, ...catalogue.errors]) {
    const texts = LANGUAGES.map((language) => row[language]);
    assert.equal(new Set(texts).size, LANGUAGES.length, row.name);
    assert.match(row.ar, /[\u0600-\u06ff]/, row.name);
  }
  const unknown = ProvisioningError.ofFault(4711);
  assert.equal(unknown.name, "UnknownFault");
  assert.ok(LANGUAGES.every((language) => unknown.text(language).includes("4711")));
});

test("a pairing secret is six digits or the label's QR text", () => {
  for (const text of ["042137", " 042 137 ", "042-137"]) {
    assert.equal(Buffer.from(PairingSecret.parse(text).expose()).toString(), "042137");
  }
  const qr = PairingSecret.parse("JARVIS:1:jarvis-5b91b661:00112233445566778899aAbBcCdDeEfF:later");
  assert.deepEqual([qr.kind, qr.nodeName, qr.expose()[15]], ["qr", "jarvis-5b91b661", 0xff]);
  for (const text of [
    "",
    "12345",
    "1234567",
    "12345a",
    "JARVIS:2:n:00112233445566778899aabbccddeeff",
    "JARVIS:1:n:0011",
    "WIFI:S:x;;",
  ]) {
    assert.throws(() => PairingSecret.parse(text), { name: "InvalidCode" });
  }
});

test("networks and passwords are checked as WPA does", () => {
  assert.equal(checkSsid("ä".repeat(16)), undefined);
  for (const ssid of ["", "ä".repeat(17), new Uint8Array(33)]) {
    assert.equal(checkSsid(ssid), "InvalidSsid");
  }
  for (const passphrase of ["12345678", "x".repeat(63), "0aF".repeat(21) + "0"]) {
    assert.equal(checkPassphrase(passphrase, "WPA2"), undefined);
  }
  for (const passphrase of ["", "1234567", "x".repeat(64), "tab\tin it"]) {
    assert.equal(checkPassphrase(passphrase, "WPA2"), "InvalidPassphrase", passphrase);
  }
  assert.equal(checkPassphrase("Grüße-vom-Haus", "WPA2"), undefined);
  for (const passphrase of ["short", "x".repeat(128)]) {
    assert.equal(checkPassphrase(passphrase, "WPA3"), undefined);
  }
  assert.equal(checkPassphrase("x".repeat(129), "WPA3"), "InvalidPassphrase");
  assert.equal(checkPassphrase("0a".repeat(32), "WPA3"), "Wpa3NeedsPassword");
  assert.equal(checkPassphrase("0a".repeat(32), "WPA2_WPA3"), undefined);
  assert.equal(checkPassphrase("", "OPEN"), undefined);
  assert.equal(checkPassphrase("password", "OWE"), "InvalidPassphrase");
  assert.equal(checkPassphrase("", "UNKNOWN"), undefined);
  assert.deepEqual(
    [checkPassphrase("", "ENTERPRISE"), checkPassphrase("password", "ENTERPRISE")],
    [undefined, "InvalidPassphrase"],
  );
});

test("addresses are plain URLs that need no repair", () => {
  for (const url of [
    "http://192.168.1.5:7703",
    "https://Center.example/",
    "HTTPS://center.example:443/a/b",
    "http://[::1]:80",
    "http://a/@b",
  ]) {
    assert.equal(checkUrl(url), undefined, url);
  }
  const refused = [
    "",
    "center.example",
    "ftp://a",
    "http:/a",
    "http://a b",
    "http://ä.example",
    "http://a\\b",
    "http://u:p@a",
    "http://a?q",
    "http://a/#",
    "http://a:99999",
    "http://a\n",
    `http://a/${"x".repeat(512)}`,
  ];
  for (const url of refused) {
    assert.equal(checkUrl(url), "InvalidUrl", url);
  }
});

test("every wrong field of credentials is named", () => {
  const valid = {
    requestId: newRequestId(),
    ssid: "x",
    passphrase: "password",
    commandCenterUrl: "http://a",
    nodeId: "n",
    provisioningToken: "t",
  };
  assert.deepEqual(checkCredentials(valid, "WPA2"), {});
  const connected = { ...valid, ssid: "", passphrase: "" };
  assert.deepEqual(checkCredentials(connected), {});
  assert.deepEqual(checkCredentials(connected, "OPEN"), { ssid: "InvalidSsid" });
  const wrong = {
    ...valid,
    ssid: "",
    passphrase: "short",
    nodeId: "a b",
    provisioningToken: "\n",
    room: "\u0007",
    householdId: "\u0080",
    commandCenterUrl: "x",
    configServiceUrl: "y",
    provisionCode: "123",
  };
  assert.deepEqual(checkCredentials(wrong, "WPA2"), {
    ssid: "InvalidSsid",
    passphrase: "InvalidPassphrase",
    room: "InvalidRoom",
    commandCenterUrl: "InvalidUrl",
    configServiceUrl: "InvalidConfigServiceUrl",
    householdId: "InvalidHouseholdId",
    nodeId: "InvalidNodeId",
    provisioningToken: "InvalidToken",
    provisionCode: "InvalidProvisionCode",
  });
  assert.deepEqual(checkCredentials({ ...valid, provisionCode: "osiris://abcd-1234-abcd 1234" }), {});
});

/** The outlines of a certificate and of a PKCS#12. */
const CERTIFICATE = Uint8Array.of(0x30, 7, 0x30, 0, 0x30, 0, 3, 1, 0);
const PKCS12 = Uint8Array.of(0x30, 5, 2, 1, 3, 0x30, 0);
const PEM = "-----BEGIN CERTIFICATE-----\r\nMAcwAD\nAAAwEA\n-----END CERTIFICATE-----\n";
const BY_PASSWORD: Enterprise = {
  method: "PEAP_MSCHAPV2",
  identity: "anna@example.org",
  anonymousIdentity: "anonymous@example.org",
  password: "s3cret",
  authority: CERTIFICATE,
  domain: "radius.example.org",
};
const { password: _password, ...others } = BY_PASSWORD;
const BY_CERTIFICATE: Enterprise = { ...others, method: "TLS", certificate: PKCS12, certificatePassword: "opens it" };

test("a login has the parts of its method and a way to verify the server", () => {
  const { authority: _authority, domain: _domain, ...unverified } = BY_PASSWORD;
  for (const login of [
    BY_PASSWORD,
    { ...BY_PASSWORD, method: "TTLS_PAP" as const, anonymousIdentity: "" },
    { ...BY_PASSWORD, domain: "", authority: utf8(PEM) },
    { ...BY_PASSWORD, authority: utf8(`Root of the example\n${PEM}${PEM}`) },
    { ...BY_PASSWORD, authority: new Uint8Array() },
    { ...unverified, acceptUnverifiedServer: true },
    BY_CERTIFICATE,
    { ...BY_CERTIFICATE, certificate: Uint8Array.of(0x30, 0x80, 2, 1, 3, 0x30, 0x80, 0, 0, 0, 0) },
  ]) {
    assert.deepEqual(checkEnterprise(login), {});
  }
});

test("every bad part of a login is named", () => {
  const none = new Uint8Array();
  const large = concat(Uint8Array.of(0x30, 0x82, 0x1f, 0xfd, 2, 1, 3, 0x30), new Uint8Array(0x1ff9));
  const refused: readonly (readonly [Enterprise, LoginField, FaultName])[] = [
    ...["", "a".repeat(254), "a\nb"].map((identity) => [{ ...BY_PASSWORD, identity }, "identity", "InvalidIdentity"] as const),
    [{ ...BY_PASSWORD, anonymousIdentity: "\u007f" }, "anonymousIdentity", "InvalidIdentity"],
    ...["", "a".repeat(257), "a\0"].map((password) => [{ ...BY_PASSWORD, password }, "password", "InvalidEnterprise"] as const),
    [{ ...BY_PASSWORD, certificate: PKCS12 }, "certificate", "InvalidEnterprise"],
    [{ ...BY_PASSWORD, certificatePassword: "a" }, "certificatePassword", "InvalidEnterprise"],
    [{ ...BY_CERTIFICATE, password: "a" }, "password", "InvalidEnterprise"],
    [{ ...BY_CERTIFICATE, certificate: none }, "certificate", "InvalidEnterprise"],
    [{ ...BY_CERTIFICATE, certificatePassword: "" }, "certificatePassword", "InvalidEnterprise"],
    [{ ...BY_CERTIFICATE, certificatePassword: "\t" }, "certificatePassword", "InvalidCertificate"],
    ...[
      CERTIFICATE,
      utf8(PEM),
      PKCS12.subarray(0, 6),
      concat(PKCS12, Uint8Array.of(0)),
      large,
      Uint8Array.of(0x30, 0x80, 2, 1, 3),
    ].map((certificate) => [{ ...BY_CERTIFICATE, certificate }, "certificate", "InvalidCertificate"] as const),
    ...[
      utf8("a"),
      PKCS12,
      CERTIFICATE.subarray(0, 8),
      concat(CERTIFICATE, CERTIFICATE),
      utf8(PEM.replaceAll("CERTIFICATE", "PRIVATE KEY")),
      utf8(PEM.replaceAll("CERTIFICATE", "PRIVATE KEY") + PEM),
      utf8(PEM.replace("MAcw", "M+cw")),
      utf8(PEM.replace("MAcw", "MA*w")),
      utf8(PEM.slice(0, PEM.indexOf("-----END"))),
      utf8(PEM.repeat(60)),
      concat(Uint8Array.of(0xff), utf8(PEM)),
    ].map((authority) => [{ ...BY_PASSWORD, authority }, "authority", "InvalidAuthority"] as const),
    ...["example\0.org", "a b", "*.example.org", "example..org", "münchen.example", "a.".repeat(130)].map(
      (domain) => [{ ...BY_PASSWORD, domain }, "domain", "InvalidDomain"] as const,
    ),
    [{ ...BY_PASSWORD, authority: none, domain: "" }, "domain", "ServerUnverifiable"],
    [{ ...BY_PASSWORD, acceptUnverifiedServer: true }, "domain", "ServerUnverifiable"],
  ];
  for (const [login, field, fault] of refused) {
    assert.deepEqual(checkEnterprise(login), { [field]: fault }, `${field} ${fault}`);
  }
});

test("ids of attempts are random and never zero", () => {
  const ids = new Set(Array.from({ length: 100 }, newRequestId));
  assert.equal(ids.size, 100);
  assert.ok([...ids].every((id) => id > 0n && id < 1n << 63n));
});
