/** The elements of the page of network care. What comes from the node is text, and never more. */

import { LOCK, SVG, WAVES, element, icon } from "../elements.js";
import { visible } from "../language.js";
import type { DeviceEvent, Finding, Label, SavedNetwork, SeenNetwork, Status } from "./api.js";
import { advised, named, text, time } from "./texts.js";

/** Rows of a list that are shown. */
const SHOWN = 60;
/** Events that are shown; the newest come first. */
const EVENTS = 50;
/** Modules of white around a QR code (ISO/IEC 18004, 5.3.8). */
const QUIET = 4;
const MARKS = {
  ok: ["m6 12 4 4 8-9"],
  failed: ["M7 7l10 10", "M17 7 7 17"],
  not_reached: ["M8 12h8"],
} as const;

/** Makes an element with a class and children. */
function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  style: string,
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  made.className = style;
  made.append(...children);
  return made;
}

/** A text of the node, which is English, or of others. */
function foreign(words: string, language = ""): HTMLElement {
  const made = make("bdi", "", visible(words));
  made.lang = language;
  return made;
}

/** Writes a text, unless it is there: a screen reader repeats what is written. */
export function write(id: string, words: string): void {
  if (element(id).textContent !== words) {
    element(id).textContent = words;
  }
}

/** The network that the node is in; empty if there is none. */
export function networkOf({ network }: Status): string {
  return network.connected ? visible(network.activeConnection ?? network.lastSsid ?? "") : "";
}

/** Health in one line, and what follows from the status. */
export function showStatus(status: Status): void {
  const { network, recovery } = status;
  const [title, words] = health(status);
  const isNew = !network.provisioned && !network.connected;
  element("health").dataset["health"] = isNew ? "warning" : status.runtime.health;
  write("device", visible(network.hotspotSsid));
  write("health-title", title);
  write("health-text", words);
  write("health-address", network.ipv4Address === undefined ? "" : text("health.address", network.ipv4Address));
  element("health-error").hidden = network.lastError === undefined || status.runtime.health === "ok";
  element("health-error")
    .querySelector("bdi")
    ?.replaceChildren(visible(network.lastError ?? ""));
  const state = !recovery.enabled ? "off" : { recovery: "running", cooldown: "cooldown", none: "on" }[recovery.activeLock];
  write("recovery-state", named("recovery", state ?? "on"));
  element<HTMLButtonElement>("recover").hidden = !recovery.enabled;
  write("hotspot-state", network.apEnabled ? text("hotspot.open", network.hotspotSsid) : text("hotspot.closed"));
  write("hotspot", text(network.apEnabled ? "hotspot.disable" : "hotspot.enable"));
}

function health(status: Status): [string, string] {
  const { network } = status;
  const name = networkOf(status);
  if (status.restartPending) {
    return [text("health.restart"), ""];
  }
  if (!status.services.networkManagerAvailable) {
    return [text("health.software"), ""];
  }
  if (!network.provisioned && !network.connected) {
    return [text("health.new"), text("health.new.text")];
  }
  if (network.apEnabled && !network.connected) {
    return [text("health.hotspot"), text("health.hotspot.text", network.hotspotSsid)];
  }
  if (!network.connected) {
    return [text("health.offline"), text("health.offline.text")];
  }
  if (network.internetReachable !== true) {
    return [text("health.limited"), text("health.limited.text", name)];
  }
  return [text("health.ok"), text("health.online", name)];
}

/** The layers of a diagnosis; what to do stands below the one that has failed. */
export function showLayers(findings: readonly Finding[]): void {
  element("layers").replaceChildren(
    ...findings.map(({ layer, verdict, evidence, advice }) => {
      const known = MARKS[verdict] === undefined ? "not_reached" : verdict;
      const title = make(
        "p",
        "layer",
        icon(MARKS[known]),
        make("b", "", named("layer", layer)),
        make("span", "", named("verdict", known)),
      );
      const row = make("li", known, title);
      if (known !== "ok") {
        row.append(make("p", "hint", foreign(evidence, "en")));
      }
      if (advice !== undefined && advice !== null) {
        row.append(make("p", "advice", foreign(...advised(advice))));
      }
      return row;
    }),
  );
}

/** The saved networks; `onForget` gets the button, too, beside which it asks. The row where it asks stays, and with it the focus. */
export function showSaved(networks: readonly SavedNetwork[], onForget: (name: string, button: HTMLButtonElement) => void): void {
  const list = element("saved");
  const asking = list.querySelector(".ask")?.closest("li");
  const rows = networks.map(({ name, active }) => {
    const title = make("span", "name", foreign(name), ...(active ? [make("span", "badge", text("networks.active"))] : []));
    if (asking?.dataset["name"] === name) {
      asking.firstElementChild?.replaceWith(title);
      return asking;
    }
    const button = make("button", "", text("networks.forget"), make("span", "unseen", ` ${visible(name)}`));
    button.type = "button";
    button.addEventListener("click", () => onForget(name, button));
    const row = make("li", "", title, button);
    row.dataset["name"] = name;
    return row;
  });
  element("saved-none").hidden = rows.length > 0;
  const at = rows.findIndex((row) => row === asking);
  [...list.children].filter((row) => at < 0 || row !== asking).forEach((row) => row.remove());
  list.prepend(...rows.slice(0, Math.max(at, 0)));
  list.append(...rows.slice(at + 1));
}

/** The networks in range, the strongest first. */
export function showSeen(networks: readonly SeenNetwork[], onChosen: (network: SeenNetwork) => void): void {
  const sorted = [...networks].sort((one, other) => other.signal - one.signal);
  element("searching").hidden = true;
  element("more").hidden = sorted.length <= SHOWN;
  write("more", text("networks.more", sorted.length - SHOWN));
  element("list").replaceChildren(
    ...sorted.slice(0, SHOWN).map((network) => {
      const bars = Math.min(4, Math.max(1, Math.ceil(network.signal / 25)));
      const isOpen = network.security === "open" || network.security === "OWE";
      const details = `, ${text(isOpen ? "networks.open" : "networks.secured")}, ${text("networks.signal", bars)}`;
      const isSupported = network.security !== "WEP" && !network.security.endsWith("802.1X");
      const button = make("button", "", foreign(network.ssid), make("span", "unseen", details));
      button.type = "button";
      button.append(...(network.inUse ? [make("span", "badge", text("networks.active"))] : []));
      button.append(...(isSupported ? [] : [text("networks.unsupported")]), ...(isOpen ? [] : [icon(LOCK)]), icon(WAVES, bars));
      button.disabled = !isSupported;
      button.addEventListener("click", () => onChosen(network));
      return make("li", "", button);
    }),
  );
}

/** The events, the newest first, and among them the history of recoveries. */
export function showEvents(events: readonly DeviceEvent[]): void {
  const rows = (chosen: readonly DeviceEvent[]) =>
    chosen.slice(0, EVENTS).map((event) => {
      const when = make("time", "", time(event.timestamp));
      when.dateTime = isoTime(event.timestamp);
      const level = make("span", "level", named("events.level", event.level));
      return make(
        "li",
        `mood-${MOODS.includes(event.level) ? event.level : "info"}`,
        make("p", "hint", level, " · ", when),
        foreign(event.message, "en"),
      );
    });
  const recoveries = events.filter(({ action }) => action?.startsWith("recovery.") === true);
  element("events").replaceChildren(...rows(events));
  element("history").replaceChildren(...rows(recoveries));
  element("events-none").hidden = events.length > 0;
  element("events").hidden = events.length === 0;
  element("history-none").hidden = recoveries.length > 0;
  element("history").hidden = recoveries.length === 0;
}

const MOODS: readonly string[] = ["info", "success", "warning", "error"];

function isoTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.valueOf()) ? "" : date.toISOString();
}

/** The label, or nothing of it. */
export function showLabel(label: Label | undefined): void {
  const rows = label?.modules ?? [];
  const size = rows.length + 2 * QUIET;
  const dark = rows.flatMap((row, y) =>
    [...row].flatMap((module, x) => (module === "1" ? [`M${x + QUIET} ${y + QUIET}h1v1h-1z`] : [])),
  );
  const ground = document.createElementNS(SVG, "rect");
  const modules = document.createElementNS(SVG, "path");
  for (const side of ["width", "height"]) {
    ground.setAttribute(side, String(size));
  }
  modules.setAttribute("d", dark.join(""));
  const qr = element<SVGElement>("qr");
  qr.setAttribute("viewBox", `0 0 ${size} ${size}`);
  qr.setAttribute("aria-label", text("label.qr"));
  qr.replaceChildren(...(rows.length === 0 ? [] : [ground, modules]));
  qr.style.display = rows.length === 0 ? "none" : "";
  write("label-code", visible(label?.code.replace(/^(\d{3})/, "$1 ") ?? ""));
  element("label-box").hidden = label === undefined;
  element("label").setAttribute("aria-expanded", String(label !== undefined));
  write("label", text(label === undefined ? "label.show" : "label.hide"));
}

/** Asks in place of a button whether to do what it stands for. */
export function ask(button: HTMLButtonElement, question: string, onYes: () => void): void {
  const box = make("div", "notice ask", make("p", "", question));
  const back = () => {
    box.remove();
    button.hidden = false;
    button.focus();
  };
  const yes = make("button", button.className, ...[...button.childNodes].map((child) => child.cloneNode(true)));
  const no = make("button", "", text("cancel"));
  yes.type = no.type = "button";
  yes.addEventListener("click", () => {
    back();
    onYes();
  });
  no.addEventListener("click", back);
  box.setAttribute("role", "group");
  box.append(make("div", "row", yes, no));
  button.hidden = true;
  button.after(box);
  no.focus();
}
