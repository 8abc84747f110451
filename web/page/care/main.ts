/** The page of network care: what a device in its network does, and what its owner can change. */

import type { Security } from "../../client/src/messages.js";
import { checkPassphrase, checkSsid } from "../../client/src/validate.js";
import { element, input } from "../elements.js";
import { preferred } from "../language.js";
import type { Language } from "../language.js";
import { Care, CareError } from "./api.js";
import type { Access, DeviceEvent, SeenNetwork, Status } from "./api.js";
import { isCode, open } from "./sealed.js";
import { text, translate } from "./texts.js";
import { ask, networkOf, showEvents, showLabel, showLayers, showSaved, showSeen, showStatus, write } from "./view.js";

/** Pause between requests for the status, milliseconds. */
const REFRESH_PAUSE = 10_000;
/** Events that are kept. */
const KEPT = 200;
/** How long to wait for the outcome of a change of the network, milliseconds. */
const PATIENCE = 180_000;
/** Pause between looks for it, milliseconds. */
const LOOK_PAUSE = 2_000;

/** The kinds of protection with a password, by their names in the API. */
const SECURITIES: Readonly<Record<string, Security>> = { WPA1: "WPA", WPA2: "WPA2", "WPA2 WPA3": "WPA2_WPA3", WPA3: "WPA3" };

let care: Access = new Care("");
let status: Status | undefined;
let events: DeviceEvent[] = [];
/** The network to join; none: its name is typed. */
let chosen: SeenNetwork | undefined;
let notice: (() => string) | undefined;
let isLive = false;
let isJoining = false;
let following = new AbortController();
let drawing = 0;

/** Shows a notice above everything, or none. It is a function, because the language can change. */
function say(message: (() => string) | undefined, bad = true): void {
  notice = message;
  element("notice").hidden = message === undefined;
  element("notice").classList.toggle("bad", bad);
  write("notice", message?.() ?? "");
  if (message !== undefined) {
    element("notice").scrollIntoView({ block: "nearest" });
  }
}

function reasonOf(error: unknown): string {
  return error instanceof CareError && error.message !== "" ? error.message : text("unreachable");
}

function setLost(isLost: boolean): void {
  element("lost").hidden = !isLost;
  write("lost", isLost ? text("lost") : "");
}

/** Runs what a button started, and shows why it failed. */
async function run(button: HTMLButtonElement, act: () => Promise<void>): Promise<void> {
  button.disabled = true;
  say(undefined);
  try {
    await act();
  } catch (error) {
    if (!refused(error)) {
      say(() => text("failed", reasonOf(error)));
    }
  } finally {
    button.disabled = false;
  }
}

/** Shows what to do for access, if that is why a request has failed. */
function refused(error: unknown): boolean {
  const code = error instanceof CareError ? error.status : 0;
  if (code !== 401 && code !== 403) {
    return false;
  }
  following.abort();
  status = undefined;
  element("care").hidden = true;
  element("login").hidden = false;
  return true;
}

/** Requests the status, and shows the page or what keeps from it. */
async function refresh(): Promise<void> {
  try {
    const isFirst = status === undefined;
    status = await care.status();
    setLost(false);
    showStatus(status);
    element("login").hidden = true;
    element("care").hidden = false;
    element("clear").hidden = care.isSealed;
    if (isFirst) {
      follow();
      await showNetworks();
    }
  } catch (error) {
    if (!refused(error)) {
      setLost(true);
    }
  }
}

async function showNetworks(): Promise<void> {
  showSaved(await care.saved(), forget);
}

function follow(): void {
  following.abort();
  following = new AbortController();
  events = [];
  showEvents(events);
  void care.follow(following.signal, take, (live) => {
    isLive = live;
    write("live", text(live ? "events.live" : "events.lost"));
  });
}

function take(event: DeviceEvent): void {
  events = [event, ...events].slice(0, KEPT);
  // Many events may arrive at once; the page writes their list once.
  cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => showEvents(events));
  if (event.status !== undefined) {
    status = event.status;
    showStatus(status);
  }
  if (event.action?.startsWith("network.") === true && event.phase !== "started" && !isJoining) {
    void showNetworks().catch(() => undefined);
  }
}

function forget(name: string, button: HTMLButtonElement): void {
  ask(
    button,
    text("networks.forget.ask", name),
    () =>
      void run(button, async () => {
        await care.forget(name);
        await showNetworks();
        say(() => text("networks.forgotten", name), false);
      }),
  );
}

function choose(network: SeenNetwork | undefined): void {
  chosen = network;
  element("seen-box").hidden = true;
  element("join").hidden = false;
  element("join-named").hidden = network !== undefined;
  input("passphrase").value = "";
  showMistakes([]);
  rewriteJoin();
  (network === undefined ? input("ssid") : input("passphrase")).focus();
}

function rewriteJoin(): void {
  write("join-title", chosen === undefined ? text("join.other") : text("join.title", chosen.ssid));
}

/** Shows which fields are wrong, and moves the focus to the first of them. */
function showMistakes(wrong: readonly string[]): void {
  for (const field of ["ssid", "passphrase"]) {
    element(`${field}-error`).hidden = !wrong.includes(field);
    input(field).setAttribute("aria-invalid", String(wrong.includes(field)));
  }
  wrong.slice(0, 1).forEach((field) => input(field).focus());
}

/** The fields that the node would refuse. */
function mistakes(name: string, password: string): string[] {
  // A name from the list stands for its network, also where it is no text.
  const isNameWrong = chosen === undefined && checkSsid(name) !== undefined;
  const isPasswordWrong = checkPassphrase(password, SECURITIES[chosen?.security ?? ""]) !== undefined;
  return [...(isNameWrong ? ["ssid"] : []), ...(isPasswordWrong ? ["passphrase"] : [])];
}

function endJoin(): void {
  element("join").hidden = true;
  element("seen-box").hidden = true;
  element("change").hidden = false;
  input("passphrase").value = "";
  input("ssid").value = "";
  showPassword(false);
}

function showPassword(isShown: boolean): void {
  input("passphrase").type = isShown ? "text" : "password";
  write("show", text(isShown ? "join.hide" : "join.show"));
  element("show").setAttribute("aria-pressed", String(isShown));
}

/** Joins a network, waits through the loss of the connection, and says in which network the node is then. */
async function join(): Promise<void> {
  const network = chosen ?? { ssid: input("ssid").value };
  const name = network.ssid;
  const password = input("passphrase").value;
  const wrong = mistakes(name, password);
  showMistakes(wrong);
  if (wrong.length > 0) {
    return;
  }
  const isHidden = chosen === undefined;
  endJoin();
  isJoining = true;
  element("trying").hidden = false;
  write("trying", text("join.trying", name));
  try {
    await care.connect(network, password, isHidden);
    say(() => text("join.done", name), false);
  } catch (error) {
    if (error instanceof CareError && error.status !== 0 && error.status !== 500) {
      throw error;
    }
    await outcome(name, error);
  } finally {
    isJoining = false;
    element("trying").hidden = true;
    await refresh();
    await showNetworks().catch(() => undefined);
  }
}

/** The answer is a failure, or it was lost with the network: the status says where the node is. */
async function outcome(name: string, error: unknown): Promise<void> {
  const until = Date.now() + PATIENCE;
  for (;;) {
    const now = await care.status().catch(() => undefined);
    setLost(now === undefined);
    if (now !== undefined && (now.network.connected || now.network.apEnabled)) {
      const network = networkOf(now);
      const isLost = error instanceof CareError && error.status === 0;
      const reason = isLost && now.network.lastError !== undefined ? now.network.lastError : reasonOf(error);
      if (isLost && now.network.lastSsid === name && now.network.connected) {
        say(() => text("join.done", name), false);
      } else if (network === "") {
        say(() => text("join.away", name, reason));
      } else {
        say(() => text("join.back", name, reason, network));
      }
      return;
    }
    if (Date.now() > until) {
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_PAUSE));
  }
}

async function toggleLabel(): Promise<void> {
  const isShown = !element("label-box").hidden;
  showLabel(isShown ? undefined : await care.label());
}

function askHotspot(): void {
  const button = element<HTMLButtonElement>("hotspot");
  const isOpen = status?.network.apEnabled === true;
  const question = isOpen ? text("hotspot.disable.ask") : text("hotspot.enable.ask", status?.network.hotspotSsid ?? "");
  ask(
    button,
    question,
    () =>
      void run(button, async () => {
        await care.hotspot(!isOpen).catch((error: unknown) => {
          // The answer may be lost with the network that the node has left.
          if (!(error instanceof CareError) || error.status !== 0) {
            throw error;
          }
        });
        await refresh();
      }),
  );
}

function askReset(): void {
  const button = element<HTMLButtonElement>("reset");
  ask(
    button,
    text("reset.ask", status?.network.hotspotSsid ?? ""),
    () =>
      void run(button, async () => {
        await care.reset();
        following.abort();
        clearInterval(refreshing);
        element("care").hidden = true;
        say(() => text("reset.done"), false);
      }),
  );
}

function rewrite(): void {
  if (status !== undefined) {
    showStatus(status);
  }
  showEvents(events);
  showPassword(input("passphrase").type === "text");
  rewriteJoin();
  write("live", status === undefined ? "" : text(isLive ? "events.live" : "events.lost"));
  write("label", text(element("label-box").hidden ? "label.show" : "label.hide"));
  setLost(!element("lost").hidden);
  write("notice", notice?.() ?? "");
}

/** Takes the code or the token out of the address, so that it stays in no history, and shows the page. */
async function takeLink(): Promise<void> {
  const carried = new URLSearchParams(location.hash.slice(1));
  if (location.hash !== "") {
    history.replaceState(null, "", location.pathname + location.search);
  }
  const given = carried.get("code") ?? carried.get("token");
  await (given === null ? refresh() : enter(given));
}

function listen(): void {
  const clicked = (id: string, act: () => Promise<void>) => {
    const button = element<HTMLButtonElement>(id);
    button.addEventListener("click", () => void run(button, act));
  };
  clicked("check", async () => showLayers(await care.diagnose()));
  clicked("recover", () => care.recover());
  clicked("label", toggleLabel);
  clicked("change", async () => {
    element("seen-box").hidden = false;
    element("searching").hidden = false;
    const seen = await care.scan().catch((error: unknown) => {
      element("seen-box").hidden = true;
      throw error;
    });
    element("change").hidden = true;
    showSeen(seen, choose);
  });
  element("other").addEventListener("click", () => choose(undefined));
  for (const id of ["no-change", "no-join"]) {
    element(id).addEventListener("click", () => {
      endJoin();
      element("change").focus();
    });
  }
  element("show").addEventListener("click", () => showPassword(input("passphrase").type === "password"));
  element("hotspot").addEventListener("click", askHotspot);
  element("reset").addEventListener("click", askReset);
  element("join").addEventListener("submit", (event) => {
    event.preventDefault();
    void run(element("change") as HTMLButtonElement, join);
  });
  element("login").addEventListener("submit", (event) => {
    event.preventDefault();
    void enter(input("token").value.trim());
  });
  element<HTMLSelectElement>("language").addEventListener("change", (event) => {
    translate((event.target as HTMLSelectElement).value as Language);
    rewrite();
    void (status === undefined ? undefined : showNetworks().catch(() => undefined));
  });
  addEventListener("hashchange", () => void takeLink());
}

/** Logs in with the code or the token. */
async function enter(given: string): Promise<void> {
  const button = element<HTMLButtonElement>("enter");
  let reason = text("token.wrong");
  button.disabled = true;
  following.abort();
  status = undefined;
  try {
    care = isCode(given) ? await open(given) : new Care(given);
    await refresh();
  } catch (error) {
    const wait = error instanceof CareError ? error.wait : 0;
    const left = `${Math.floor(wait / 60)}:${String(wait % 60).padStart(2, "0")}`;
    reason = wait > 0 ? text("token.wait", reasonOf(error), left) : reasonOf(error);
    element("login").hidden = false;
  }
  button.disabled = false;
  const isWrong = !element("login").hidden;
  element("token-error").hidden = !isWrong;
  write("token-error", isWrong ? reason : "");
  input("token").setAttribute("aria-invalid", String(isWrong));
  if (isWrong) {
    input("token").focus();
  } else {
    input("token").value = "";
  }
}

const language = preferred(navigator.languages);
element<HTMLSelectElement>("language").value = language;
translate(language);
rewrite();
listen();
void takeLink();
const refreshing = setInterval(() => {
  // The form for code and token stays while the owner types.
  if (!document.hidden && !isJoining && element("login").hidden) {
    void refresh();
  }
}, REFRESH_PAUSE);
