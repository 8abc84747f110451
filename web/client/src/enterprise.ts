/** Checks of the login to an enterprise network, by the grammars of "Limits and times". */

import type { FaultName } from "./errors.js";
import type { Enterprise } from "./messages.js";
import { isText } from "./validate.js";

const LIMITS = { name: 253, password: 256, certificate: 8192, authority: 4096, domain: 253 };
const LABEL = /^[A-Za-z0-9_-]{1,63}$/;
/** What begins a block of PEM, and what follows it in a block with a certificate. */
const BEGIN = "-----BEGIN ";
const CERTIFICATE = /^CERTIFICATE-----([^]*?)-----END CERTIFICATE-----/;

/** Tags of DER (X.690, 8.1.2). */
const SEQUENCE = 0x30;
const BIT_STRING = 0x03;
/** The number 3 in DER. */
const VERSION_3 = [0x02, 1, 3];

/** The fields of a login that an owner fills in. */
export type LoginField = Exclude<keyof Enterprise, "method" | "acceptUnverifiedServer">;

/** Every field of a login that the node would refuse, with its fault. Whether a PKCS#12 opens with its password, only the join shows. */
export function checkEnterprise(login: Enterprise): Partial<Record<LoginField, FaultName>> {
  const { anonymousIdentity = "", password = "", certificate = NONE, certificatePassword = "" } = login;
  const { authority = NONE, domain = "", acceptUnverifiedServer = false } = login;
  const isTls = login.method === "TLS";
  // Anyone can have a certificate of a public authority, for a name of his own.
  const isVerified = authority.length > 0 || domain !== "";
  const checks: Record<LoginField, FaultName | false> = {
    identity: !isText(login.identity, 1, LIMITS.name) && "InvalidIdentity",
    anonymousIdentity: !isText(anonymousIdentity, 0, LIMITS.name) && "InvalidIdentity",
    password: !(isTls ? password === "" : isText(password, 1, LIMITS.password)) && "InvalidEnterprise",
    certificate:
      isTls === (certificate.length === 0) ? "InvalidEnterprise" : isTls && !isPkcs12(certificate) && "InvalidCertificate",
    certificatePassword:
      isTls === (certificatePassword === "")
        ? "InvalidEnterprise"
        : !isText(certificatePassword, 0, LIMITS.password) && "InvalidCertificate",
    authority: authority.length > 0 && !isAuthority(authority) && "InvalidAuthority",
    domain: !(domain === "" || isDomain(domain)) ? "InvalidDomain" : isVerified === acceptUnverifiedServer && "ServerUnverifiable",
  };
  return Object.fromEntries(Object.entries(checks).filter(([, fault]) => fault !== false));
}

const NONE = new Uint8Array(0);

function isDomain(text: string): boolean {
  return text.length <= LIMITS.domain && text.split(".").every((label) => LABEL.test(label));
}

/** Whether bytes have the outline of a PKCS#12 (RFC 7292, 4): version 3, and content. */
function isPkcs12(bytes: Uint8Array): boolean {
  // An indefinite length, as some programs write it, ends with two zeros.
  const isIndefinite = bytes[1] === 0x80 && bytes.at(-1) === 0 && bytes.at(-2) === 0;
  const content = isIndefinite ? bytes.subarray(2) : only(SEQUENCE, bytes);
  const isVersion3 = VERSION_3.every((byte, index) => content?.[index] === byte);
  return bytes.length <= LIMITS.certificate && bytes[0] === SEQUENCE && isVersion3 && content?.[VERSION_3.length] === SEQUENCE;
}

/** Whether bytes are one certificate in DER, or certificates in PEM and no other block. */
function isAuthority(bytes: Uint8Array): boolean {
  if (bytes.length > LIMITS.authority) {
    return false;
  }
  const text = new TextDecoder().decode(bytes);
  const [, ...blocks] = text.split(BEGIN);
  const isPem = blocks.every((block) => isCertificate(base64(CERTIFICATE.exec(block)?.[1] ?? "")));
  return isCertificate(bytes) || (blocks.length > 0 && isPem && !text.includes("\ufffd"));
}

/** Whether bytes have the outline of a certificate (RFC 5280, 4.1): what is signed, the algorithm, the signature. */
function isCertificate(bytes: Uint8Array): boolean {
  const algorithm = after(SEQUENCE, only(SEQUENCE, bytes));
  return only(BIT_STRING, after(SEQUENCE, algorithm)) !== undefined;
}

/** The content of an element of DER with a tag, if nothing follows it. */
function only(tag: number, bytes: Uint8Array): Uint8Array | undefined {
  const [content, rest] = element(tag, bytes) ?? [];
  return rest?.length === 0 ? content : undefined;
}

/** What follows an element of DER with a tag. */
function after(tag: number, bytes: Uint8Array | undefined): Uint8Array {
  return element(tag, bytes ?? NONE)?.[1] ?? NONE;
}

/** The content of the first element of DER, and what follows it; none if it has another tag. */
function element(tag: number, bytes: Uint8Array): [content: Uint8Array, rest: Uint8Array] | undefined {
  const [first, size = 0xff] = bytes;
  const digits = size < 0x80 ? 0 : size & 0x7f;
  if (first !== tag || digits > 2 || size === 0x80) {
    return undefined;
  }
  const start = 2 + digits;
  const length = digits === 0 ? size : bytes.subarray(2, start).reduce((sum, digit) => (sum << 8) | digit, 0);
  return bytes.length < start + length ? undefined : [bytes.subarray(start, start + length), bytes.subarray(start + length)];
}

/** Decodes base64 (RFC 4648, 4), with white space between the digits; empty if it is none. */
function base64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text.replace(/\s/g, "").replace(/=+$/, "")), (letter) => letter.charCodeAt(0));
  } catch {
    return NONE;
  }
}
