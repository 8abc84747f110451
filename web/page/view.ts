/** The page's elements: one view at a time, a notice above it, and errors at their fields. */

import type { FaultName, Field, LoginField, Network, Status } from "../client/src/index.js";
import { errorText, needsPassphrase } from "../client/src/index.js";
import { LOCK, WAVES, element, icon, input } from "./elements.js";
import { visible } from "./language.js";
import { current, text } from "./texts.js";

/** The views, in the order of the setup. */
export const VIEWS = ["code", "networks", "details", "progress", "done"] as const;
export type View = (typeof VIEWS)[number];

/** Networks that are shown; the list has the strongest first. */
const SHOWN = 60;

let shown: View = "code";
let notice: (() => string) | undefined;
let isBad = false;
/** What is shown of faults, by the elements that show it. */
const reasons = new Map<HTMLElement, () => string>();

/** The view that is shown. */
export function view(): View {
  return shown;
}

/** Shows a view, and moves the focus to its heading, so that a screen reader starts there. */
export function show(wanted: View): void {
  const isNew = wanted !== shown;
  shown = wanted;
  for (const name of VIEWS) {
    element(name).hidden = name !== wanted;
  }
  const trail = element("trail").children;
  for (const [index, step] of [...trail].entries()) {
    step.className = index <= VIEWS.indexOf(wanted) ? "past" : "";
  }
  if (isNew) {
    say(undefined);
    element(wanted).querySelector("h1")?.focus();
    scrollTo(0, 0);
  }
}

/** Shows a notice above the view, or none. It is a function, because the language can change. */
export function say(message: (() => string) | undefined, bad = true): void {
  [notice, isBad] = [message, bad];
  repeatNotice();
}

/** Writes the notice and the faults of fields in the current language. */
export function repeatMessages(): void {
  repeatNotice();
  for (const [place, reason] of reasons) {
    place.textContent = reason();
  }
}

function repeatNotice(): void {
  const place = element("notice");
  place.hidden = notice === undefined;
  place.classList.toggle("bad", isBad);
  const words = notice?.() ?? "";
  if (place.textContent !== words) {
    place.textContent = words;
  }
}

/** Shows the faults of fields, and moves the focus to the first one. Returns whether there is any. */
export function mark(faults: Partial<Record<Field | LoginField | "digits", FaultName | "InvalidCode">>): boolean {
  reasons.clear();
  document.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
  const places = [...document.querySelectorAll<HTMLElement>(".error")];
  places.forEach((place) => (place.hidden = true));
  const fields = places.map(({ id }) => id.replace("-error", "") as keyof typeof faults);
  const wrong = fields.filter((field) => {
    const fault = faults[field];
    return fault !== undefined && explain(field, () => errorText(fault, current()));
  });
  wrong.slice(0, 1).forEach((field) => input(field).focus());
  const [unseen] = Object.values(faults);
  if (unseen !== undefined && wrong.length === 0) {
    // The name of a network from the list has no field.
    say(() => errorText(unseen, current()));
  }
  return Object.keys(faults).length > 0;
}

/** Shows what is wrong at a field. Returns whether the field is shown and has a place for it. */
export function explain(id: string, reason: () => string): boolean {
  const place = element<HTMLElement | null>(`${id}-error`);
  if (place === null || input(id).closest("[hidden]") !== null) {
    return false;
  }
  reasons.set(place, reason);
  place.textContent = reason();
  place.hidden = false;
  input(id).setAttribute("aria-invalid", "true");
  return true;
}

/** A network's name as text: what is no UTF-8 is replaced, and what could deceive is made visible. */
export function nameOf(ssid: Uint8Array): string {
  return visible(new TextDecoder().decode(ssid));
}

/** Lists networks. An element that stays keeps its focus. */
export function list(networks: readonly Network[], onChosen: (network: Network) => void): void {
  const place = element("list");
  const hadFocus = (document.activeElement as HTMLElement | null)?.dataset["network"];
  const rows = networks.slice(0, SHOWN).map((network) => row(network, onChosen));
  place.replaceChildren(...rows);
  rows
    .map(({ firstChild }) => firstChild as HTMLElement)
    .find(({ dataset }) => dataset["network"] === hadFocus)
    ?.focus();
  element("more").hidden = networks.length <= SHOWN;
  element("more").textContent = text("networks.more", networks.length - SHOWN);
  element("searching").textContent = networks.length === 0 ? text("networks.none") : text("networks.found", networks.length);
}

function row(network: Network, onChosen: (network: Network) => void): HTMLLIElement {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset["network"] = `${network.ssid.join()} ${network.security}`;
  const name = document.createElement("bdi");
  name.textContent = nameOf(network.ssid);
  const details = document.createElement("span");
  details.className = "unseen";
  const bars = Math.min(4, Math.max(1, Math.round((network.signalDbm + 100) / 12)));
  const isSupported = network.security !== "WEP";
  const isEnterprise = network.security === "ENTERPRISE";
  const isOpen = !isEnterprise && needsPassphrase(network.security) === false;
  const protection = text(isEnterprise ? "networks.enterprise" : isOpen ? "networks.open" : "networks.secured");
  details.textContent = `, ${protection}, ${text("networks.signal", bars)}`;
  button.append(name, details);
  if (isSupported) {
    button.append(...(isOpen ? [] : [icon(LOCK)]));
    button.addEventListener("click", () => onChosen(network));
  } else {
    button.disabled = true;
    button.append(text("networks.unsupported"));
  }
  button.append(icon(WAVES, bars));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

/** Shows the progress of an attempt. */
export function progress({ state, percent }: Pick<Status, "state" | "percent">): void {
  element<HTMLProgressElement>("percent").value = percent;
  const reached = state === "PROVISIONED" ? 3 : percent >= 50 ? 2 : percent >= 20 ? 1 : 0;
  const steps = [...element("steps").children];
  for (const [index, step] of steps.entries()) {
    const isNow = index === reached && state !== "PROVISIONED";
    step.className = isNow ? "now" : index <= reached ? "past" : "";
    step.setAttribute("aria-current", isNow ? "step" : "false");
  }
  element("step").textContent = steps[reached]?.textContent ?? "";
}
