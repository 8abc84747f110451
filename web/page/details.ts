/** The form with the network's details: what it shows of the network that was chosen, and the credentials that it gives. */

import { checkCredentials, checkEnterprise, needsPassphrase, newRequestId } from "../client/src/index.js";
import type { Credentials, Network, Security } from "../client/src/index.js";
import { element, input } from "./elements.js";
import { readLogin } from "./enterprise.js";
import { ORDERED } from "./fields.js";
import { text } from "./texts.js";
import type { mark } from "./view.js";
import { nameOf } from "./view.js";

/** What is not kept for another network, or for another person. */
const SECRETS = "#passphrase, #login input";
/** The buttons that show a password. */
const SHOW = ".joined button";

/** A network from the list; the connection that the node has; or none: the owner enters the network's name. */
export type Choice = Network | "present" | undefined;

let chosen: Choice;

/** Empties the form for a network. */
export function setNetwork(network: Choice): void {
  chosen = network;
  erase(SECRETS);
}

/** Erases what is in fields that are used no more. */
export function eraseSecrets(): void {
  erase(`${SECRETS}, #provisioningToken`);
}

function erase(fields: string): void {
  for (const field of document.querySelectorAll<HTMLInputElement>(fields)) {
    field.value = "";
  }
}

/** The id of the field that the owner fills in first. */
export function firstField(): string {
  if (chosen === undefined) {
    return "ssid";
  }
  if (chosen === "present") {
    return ORDERED[0];
  }
  if (chosen.security === "ENTERPRISE") {
    return "identity";
  }
  return needsPassphrase(chosen.security) === false ? ORDERED[0] : "passphrase";
}

/** The protection of the network to join, if there is one. */
function security(): Security | undefined {
  return chosen === "present" ? undefined : (chosen?.security ?? (element<HTMLSelectElement>("security").value as Security));
}

/** Shows the fields of the network that is chosen. */
export function rewriteDetails(): void {
  const known = security();
  const isEnterprise = known === "ENTERPRISE";
  const isOpen = known !== undefined && !isEnterprise && needsPassphrase(known) === false;
  element("chosen").hidden = chosen === undefined;
  element("chosen-name").textContent = chosen === "present" ? text("networks.present") : chosen ? nameOf(chosen.ssid) : "";
  element("hidden-network").hidden = chosen !== undefined;
  element("with-password").hidden = known === undefined || isOpen || isEnterprise;
  element("open-network").hidden = !isOpen;
  element("leaving").hidden = known === undefined;
  element("login").hidden = !isEnterprise;
}

/** Names the buttons that show a password, in the current language. */
export function nameShows(): void {
  document.querySelectorAll(SHOW).forEach(nameShow);
}

/** The field of a button that shows a password. */
function shownBy(button: Element): HTMLInputElement {
  return input(button.getAttribute("aria-controls") ?? "");
}

function nameShow(button: Element): void {
  button.textContent = text(shownBy(button).type === "text" ? "details.hide" : "details.show");
}

/** Shows the password beside a button that was clicked, or hides it. */
export function showPassword({ target }: Event): void {
  const button = (target as Element).closest(SHOW);
  if (button !== null) {
    const field = shownBy(button);
    field.type = field.type === "password" ? "text" : "password";
    nameShow(button);
  }
}

/** The credentials as the owner has filled them in; `country` is the one that was chosen. */
export async function credentials(country: string): Promise<Credentials> {
  const value = (id: string) => input(id).value;
  const enterprise = security() === "ENTERPRISE" ? await readLogin() : undefined;
  return {
    ...(enterprise && { enterprise }),
    requestId: newRequestId(),
    ssid: chosen === "present" ? "" : (chosen?.ssid ?? value("ssid")),
    passphrase: element("with-password").hidden ? "" : value("passphrase"),
    hidden: chosen === undefined,
    commandCenterUrl: value("commandCenterUrl").trim(),
    nodeId: value("nodeId").trim(),
    provisioningToken: value("provisioningToken").trim(),
    householdId: value("householdId").trim(),
    room: value("room").trim(),
    country,
  };
}

/** What the node would refuse, by the fields. An empty password is a mistake unless the network is open. */
export function wrongFields(wanted: Credentials): Parameters<typeof mark>[0] {
  const known = security();
  const faults = checkCredentials(wanted, known === "UNKNOWN" ? "WPA2" : known);
  return wanted.enterprise === undefined ? faults : { ...faults, ...checkEnterprise(wanted.enterprise) };
}
