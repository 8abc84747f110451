/** The setup: leads a person without an app from the pairing code to a device that is online. */

import { PairingSecret, Phone, ProvisioningError, checkUrl, errorText } from "../client/src/index.js";
import type { ErrorName, Info, Language, Network, Progress, Status, StatusFault } from "../client/src/index.js";
import { countries, likely } from "./country.js";
import type { Choice } from "./details.js";
import {
  credentials,
  eraseSecrets,
  firstField,
  nameShows,
  rewriteDetails,
  setNetwork,
  showPassword,
  wrongFields,
} from "./details.js";
import { element, input } from "./elements.js";
import { listenToLogin } from "./enterprise.js";
import { ORDERED, REQUIRED, fieldOf, isOfCountry } from "./fields.js";
import { visible } from "./language.js";
import type { Link } from "./link.js";
import { takeOrder } from "./order.js";
import { current, preferred, text, translate } from "./texts.js";
import { explain, list, mark, nameOf, progress, repeatMessages, say, show, view } from "./view.js";

/** Pause between refreshes of the list, and of the session, which the node ends when it is silent; milliseconds. */
const REFRESH_PAUSE = 15_000;
/** Pause between looks for the node in the home network, milliseconds. */
const LOOK_PAUSE = 5_000;
/** How long to wait for the outcome of an attempt, milliseconds. */
const PATIENCE = 300_000;
/** How long to try to get a lost session back while no attempt runs, milliseconds. */
const RESTORE = 20_000;

/** The value of `info` without a country. */
const NO_COUNTRY = "00";
let link: Link;
let phone: Phone;
let info: Info | undefined;
let networks: readonly Network[] = [];
let cancel = new AbortController();
let isAway = false;

function deviceName(): string {
  return info?.name ?? "jarvis";
}

/** The text of any failure. */
function words(error: unknown): string {
  const known = error instanceof ProvisioningError ? error : new ProvisioningError("UnexpectedAnswer");
  return known.text(current());
}

/** The text of a fault in a status; one that a newer node added has its number. */
function faultText(fault: StatusFault | undefined): string {
  return errorText(fault?.name ?? "UnknownFault", current(), fault?.number);
}

function isNamed(error: unknown, ...names: ErrorName[]): boolean {
  return error instanceof ProvisioningError && names.includes(error.name);
}

/** Runs what a button started: no other button works meanwhile, and a failure is shown. */
async function run(act: () => Promise<void>): Promise<void> {
  const buttons = [...document.querySelectorAll<HTMLButtonElement>("button.main, #refresh")].filter(({ disabled }) => !disabled);
  buttons.forEach((button) => (button.disabled = true));
  try {
    await act();
  } catch (error) {
    say(() => words(error));
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

/** Runs a call; if the session was lost meanwhile, connects again and repeats it once. */
async function inSession<Result>(call: () => Promise<Result>): Promise<Result> {
  try {
    return await call();
  } catch (error) {
    if (!isNamed(error, "LinkLost", "TimedOut", "NotAuthenticated", "NoSession")) {
      throw error;
    }
    try {
      await phone.restore(RESTORE);
    } catch (reason) {
      show("code");
      throw reason;
    }
    return call();
  }
}

async function start(): Promise<void> {
  info = await phone.info();
  const { state, fault } = await phone.publicStatus();
  rewrite();
  if (state === "PROVISIONED") {
    showDone(undefined);
  } else if (state === "ERROR" && fault !== undefined && view() === "code") {
    say(() => text("code.failed", faultText(fault)));
  } else if (state !== "AP_MODE" && state !== "ONLINE" && view() === "code") {
    say(() => text("code.running"), false);
  }
}

async function pair(code: string): Promise<void> {
  let secret;
  try {
    secret = PairingSecret.parse(code);
  } catch {
    mark({ digits: "InvalidCode" });
    return;
  }
  mark({});
  try {
    if (!(await isReadable(secret))) {
      secret.wipe();
      return;
    }
    say(() => text("busy"), false);
    await phone.pair(secret);
    input("digits").value = "";
    await afterPairing(await inSession(() => phone.status()));
  } catch (error) {
    if (!phone.isPaired) {
      secret.wipe();
    }
    if (isNamed(error, "WrongCode")) {
      say(undefined);
      mark({ digits: "WrongCode" });
      input("digits").select();
    } else if (error instanceof ProvisioningError && error.name === "Locked") {
      countDown(error.retryAfterSeconds);
    } else {
      throw error;
    }
  }
}

/** Whether the owner has chosen a node, if that is needed, and it waits for a phone. */
async function isReadable(secret: PairingSecret): Promise<boolean> {
  if (link.choose === undefined) {
    return true;
  }
  if (await link.choose(secret)) {
    await start();
    return view() === "code";
  }
  return false;
}

async function afterPairing(status: Status): Promise<void> {
  if (status.state === "PROVISIONED") {
    showDone(status);
  } else if (status.state === "CONNECTING" || status.state === "REGISTERING") {
    await attempt((options) => phone.follow(status.requestId, options));
  } else {
    const { fault } = status;
    const network = nameOf(status.ssid);
    // An attempt over the connection that the node has, which failed, has no network.
    element("online").hidden &&= status.state !== "ONLINE" && (fault === undefined || network !== "");
    await showNetworks();
    if (fault !== undefined) {
      say(() => (network === "" ? faultText(fault) : `${network}: ${faultText(fault)}`));
    }
  }
}

function countDown(seconds: number): void {
  const end = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (view() !== "code" || left <= 0) {
      say(undefined);
      return;
    }
    const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    say(() => text("locked", errorText("Locked", current()), time));
    setTimeout(tick, 1000);
  };
  tick();
}

async function showNetworks(): Promise<void> {
  show("networks");
  element("country-field").hidden &&= info?.country !== NO_COUNTRY;
  element("searching").textContent = text("networks.searching");
  await scan(networks.length > 0);
}

async function scan(fresh: boolean): Promise<void> {
  try {
    networks = await inSession(() => phone.scan(fresh, country()));
  } catch (error) {
    element("country-field").hidden &&= !(error instanceof ProvisioningError && isOfCountry(error.name));
    throw error;
  }
  list(networks, choose);
}

/** The country that the owner has chosen; empty if the device has one. */
function country(): string {
  return element("country-field").hidden ? "" : element<HTMLSelectElement>("country").value;
}

/** Lists the countries in the page's language, and keeps the choice. */
function listCountries(): void {
  const place = element<HTMLSelectElement>("country");
  const wanted = place.value || likely(navigator.languages);
  place.replaceChildren(...countries(current()).map(([code, name]) => new Option(name, code)));
  place.value = wanted;
}

/** Refreshes the list while it is shown, and keeps the session while the owner types. What fails is repeated by the next click. */
async function refresh(): Promise<void> {
  if (document.hidden) {
    // An owner who is elsewhere does not keep others out.
    return;
  }
  if (view() === "networks") {
    networks = await phone.scan(false, country());
    if (view() === "networks") {
      list(networks, choose);
    }
  } else if (view() === "details") {
    await phone.status();
  }
}

function choose(network: Choice): void {
  setNetwork(network);
  // The phone's own way back leads to the list, and not away from the page.
  history.pushState(null, "");
  show("details");
  rewriteDetails();
  input(firstField()).focus();
}

/** Writes what depends on the device's name and on the language. */
function rewrite(): void {
  element("device").textContent = visible(deviceName());
  element("leaving").textContent = text("details.leaving", deviceName());
  element("away-text").textContent = text("away.text");
  element("away-again").textContent = text("away.again", deviceName());
  nameShows();
  listCountries();
  if (networks.length > 0) {
    list(networks, choose);
  }
  repeatMessages();
}

async function connect(): Promise<void> {
  const wanted = await credentials(country());
  const faults = wrongFields(wanted);
  element("order").hidden &&= !ORDERED.some((field) => faults[field] !== undefined);
  if (!mark(faults)) {
    await attempt((options) => inSession(() => phone.bringOnline(wanted, options)));
  }
}

interface Options {
  readonly patience: number;
  readonly cancel: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** Shows an attempt until its outcome. */
async function attempt(act: (options: Options) => Promise<Status>): Promise<void> {
  show("progress");
  setAway(false);
  progress({ state: "CONNECTING", percent: 10 });
  cancel = new AbortController();
  element<HTMLButtonElement>("cancel").disabled = false;
  try {
    showOutcome(await act({ patience: PATIENCE, cancel: cancel.signal, onProgress }));
  } catch (error) {
    // Without the node nobody can say how it ended; the page stays, because the access point may come back later.
    const isLost = isNamed(error, "LinkLost", "TimedOut");
    if (isLost) {
      say(() => text("away.late"));
    } else {
      back(error instanceof ProvisioningError ? error.name : "UnexpectedAnswer", () => words(error));
    }
  } finally {
    setAway(false);
  }
}

function onProgress(event: Progress): void {
  if (event.kind === "status") {
    progress(event.status);
  } else {
    setAway(event.kind === "lost");
  }
}

function showOutcome(status: Status): void {
  if (status.state === "PROVISIONED") {
    showDone(status);
  } else {
    const { fault } = status;
    back(fault?.name ?? "UnknownFault", () => faultText(fault));
  }
}

/** Returns to the form with the reason, at the field that is wrong; the rest is kept. */
function back(name: ErrorName, reason: () => string): void {
  const needsCountry = isOfCountry(name);
  show(needsCountry || name === "UnsupportedSecurity" ? "networks" : "details");
  mark({});
  if (needsCountry) {
    element("country-field").hidden = false;
    element("country").focus();
  }
  const field = view() === "details" ? fieldOf(name) : undefined;
  if (field !== undefined) {
    element("order").hidden &&= !(ORDERED as readonly string[]).includes(field);
  }
  const isExplained = field !== undefined && explain(field, reason);
  if (!isExplained) {
    say(reason, name !== "Cancelled");
  }
  if (field !== undefined) {
    const wrong = input(field);
    // A network that was chosen from the list has no field.
    (wrong.closest("[hidden]") === null ? wrong : element("choose")).focus();
    if (isExplained) {
      wrong.select();
    }
  }
}

function showDone(status: Status | undefined): void {
  show("done");
  const name = status === undefined ? "" : nameOf(status.ssid);
  element("done-text").textContent = name === "" ? "" : text("done.network", name);
  element("done-limited").hidden = status?.limitedConnectivity !== true;
  const address = status?.nextUrl || input("commandCenterUrl").value.trim();
  // A node that lies may name what is no page.
  element("go").hidden = checkUrl(address) !== undefined;
  const next = element<HTMLAnchorElement>("next");
  [next.href, next.textContent] = [address, address];
  eraseSecrets();
  if (link.choose === undefined) {
    void offerCare();
  }
}

/** Offers the page of network care, which the node has only if its settings say so. */
async function offerCare(): Promise<void> {
  const found = await fetch("/care", { cache: "no-store", credentials: "omit" }).catch(() => undefined);
  element("care").hidden = found?.ok !== true;
}

/** Explains that the access point is away, and looks for the node in the home network meanwhile. */
function setAway(wanted: boolean): void {
  const isNew = wanted && !isAway;
  isAway = wanted;
  element("away").hidden = !wanted;
  if (isNew && link.choose === undefined) {
    element("away-home").hidden = true;
    void look();
  }
}

/** A name in mDNS proves nothing, so the page offers a link and gives it no code. */
async function look(): Promise<void> {
  const host = `${deviceName()}.local`;
  const home = Object.assign(new URL("/", location.href), { hostname: host }).href;
  while (isAway && info !== undefined && location.hostname !== host) {
    const found = await fetch(home, { mode: "no-cors", cache: "no-store", credentials: "omit" }).then(
      () => true,
      () => false,
    );
    const link = element<HTMLAnchorElement>("home");
    [link.href, link.textContent] = [home, home];
    element("away-home").hidden = !found;
    await new Promise((resolve) => setTimeout(resolve, LOOK_PAUSE));
  }
}

/** Takes what a link carries; a code in it starts the setup. */
async function takeLink(): Promise<void> {
  const order = takeOrder(location, history);
  for (const field of ORDERED) {
    input(field).value = order[field] || input(field).value;
  }
  element("order").hidden = REQUIRED.every((field) => input(field).value !== "");
  if (link.choose === undefined) {
    await start();
  }
  if (order.code !== "" && view() === "code") {
    await (link.keep ?? pair)(order.code);
  }
}

function listen(): void {
  const submitted = (id: string, act: () => Promise<void>) =>
    element(id).addEventListener("submit", (event) => {
      event.preventDefault();
      void run(act);
    });
  submitted("code", () => pair(input("digits").value));
  submitted("details", connect);
  element("refresh").addEventListener("click", () => void run(() => scan(true)));
  element("country").addEventListener("change", () => void run(() => scan(true)));
  element("other").addEventListener("click", () => choose(undefined));
  element("keep").addEventListener("click", () => choose("present"));
  element("choose").addEventListener("click", () => history.back());
  addEventListener("popstate", () => void (view() === "details" && run(showNetworks)));
  element("details").addEventListener("click", showPassword);
  element("security").addEventListener("change", rewriteDetails);
  listenToLogin();
  element("cancel").addEventListener("click", () => {
    element<HTMLButtonElement>("cancel").disabled = true;
    cancel.abort();
  });
  element<HTMLSelectElement>("language").addEventListener("change", (event) => {
    translate((event.target as HTMLSelectElement).value as Language);
    rewrite();
  });
  addEventListener("hashchange", () => location.hash !== "" && void run(takeLink));
  // Another phone, or this page after a reload, need not wait until the node notices.
  addEventListener("pagehide", () => void link.transport.close());
  setInterval(() => void refresh().catch(() => undefined), REFRESH_PAUSE);
}

/** Starts the setup over a link. It is called once, when the page's elements are there. */
export function setUp(over: Link): void {
  link = over;
  phone = new Phone(link.transport);
  const language = preferred(navigator.languages);
  element<HTMLSelectElement>("language").value = language;
  translate(language);
  rewrite();
  show("code");
  listen();
  void run(takeLink);
}
