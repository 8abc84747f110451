/** The form for a login to an enterprise network: a file of its own, loaded when the owner chooses such a network. */

import catalogue from "../client/catalogue.json" with { type: "json" };
import { checkEnterprise } from "../client/src/enterprise.js";
import type { LoginField } from "../client/src/enterprise.js";
import type { EapMethod, Enterprise, ErrorName } from "../client/src/index.js";
import { element, input } from "./elements.js";
import form from "./enterprise.html";
import texts from "./enterprise.json" with { type: "json" };

export { checkEnterprise as check, texts };

/** The faults of logins. */
export const { faults } = catalogue;

/** Where the owner can correct what a fault is about. */
export const FIELDS: Partial<Record<ErrorName, LoginField | "security" | "verification">> = {
  InvalidEnterprise: "identity",
  InvalidIdentity: "identity",
  InvalidCertificate: "certificate",
  InvalidAuthority: "authority",
  InvalidDomain: "domain",
  ServerUnverifiable: "domain",
  NotEnterprise: "security",
  LoginRefused: "password",
  CertificateRefused: "certificate",
  ServerUntrusted: "verification",
  ServerNameMismatch: "domain",
};

/** Adds the form to its place. */
export function build(): void {
  element("login").innerHTML = form;
  for (const choice of ["method", "verification"]) {
    element(choice).addEventListener("change", rewrite);
  }
  rewrite();
}

function chosen(id: "method" | "verification"): string {
  return element<HTMLSelectElement>(id).value;
}

/** Shows the fields of what is chosen. */
function rewrite(): void {
  const isTls = chosen("method") === "TLS";
  const verification = chosen("verification");
  element("by-password").hidden = isTls;
  element("by-certificate").hidden = !isTls;
  element("by-authority").hidden = verification !== "file";
  element("by-domain").hidden = verification === "none";
  element("unverified").hidden = verification !== "none";
}

/** The login as the owner has filled it in. What is hidden is not a part of it. */
export async function read(): Promise<Enterprise> {
  return {
    method: chosen("method") as EapMethod,
    identity: input("identity").value,
    anonymousIdentity: input("anonymousIdentity").value,
    password: shown("password"),
    certificate: await content("certificate"),
    certificatePassword: shown("certificatePassword"),
    authority: await content("authority"),
    domain: shown("domain").trim(),
    acceptUnverifiedServer: chosen("verification") === "none",
  };
}

/** The field's value; empty while it is hidden. */
function shown(id: LoginField): string {
  const field = input(id);
  return field.closest("[hidden]") === null ? field.value : "";
}

async function content(id: LoginField): Promise<Uint8Array> {
  const file = shown(id) === "" ? undefined : input(id).files?.[0];
  return new Uint8Array((await file?.arrayBuffer()) ?? []);
}
