/** The checks of inputs, the pairing secret, and the catalogue of errors. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import catalogue from "../catalogue.json" with { type: "json" };
import { Fault as FaultNumber } from "../src/generated/jarvis/provisioning/v1/fault.js";
import {
  FAULTS,
  LANGUAGES,
  PairingSecret,
  ProvisioningError,
  checkCredentials,
  checkPassphrase,
  checkSsid,
  checkUrl,
  errorText,
  faultName,
  newRequestId,
} from "../src/index.js";
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
});

test("addresses are plain URLs that need no repair", () => {
  for (const url of ["http://192.168.1.5:7703", "https://Center.example/", "HTTPS://center.example:443/a/b", "http://[::1]:80"]) {
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

test("ids of attempts are random and never zero", () => {
  const ids = new Set(Array.from({ length: 100 }, newRequestId));
  assert.equal(ids.size, 100);
  assert.ok([...ids].every((id) => id > 0n && id < 1n << 63n));
});
