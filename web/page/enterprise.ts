/** The part of the form with the login to an enterprise network. */

import type { EapMethod, Enterprise, LoginField } from "../client/src/index.js";
import { element, input } from "./elements.js";

/** Lets the fields follow the choices. */
export function listenToLogin(): void {
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
export async function readLogin(): Promise<Enterprise> {
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
