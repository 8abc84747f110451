/** The site: the setup over Bluetooth, from any server. */

import { PairingSecret, requestNode } from "../client/src/index.js";
import { element, input } from "../page/elements.js";
import { setUp } from "../page/main.js";
import { text } from "../page/texts.js";
import { mark, say } from "../page/view.js";
import { ChosenNode } from "./bluetooth.js";
import { canRead, read } from "./camera.js";
import { keepOffline } from "./offline.js";
import { addTexts, siteText, write } from "./texts.js";
import type { SiteKey } from "./texts.js";

const node = new ChosenNode();
/** The text of a label's QR code, kept for the case that the session ends. */
let label: string | undefined;
/** Whether to list the label's device only. A system can know it by another name, and then lists none. */
let isNamed = true;
let camera: AbortController | undefined;

/** Lets the owner choose a device, unless the last one is still right, and connects to it. */
async function choose(secret: PairingSecret): Promise<boolean> {
  const isOther = isNamed && secret.nodeName !== undefined && secret.nodeName !== node.device?.name;
  if ((node.device === undefined || isOther) && !(await ask(secret.nodeName))) {
    return false;
  }
  if (!node.isConnected) {
    say(() => text("busy"), false);
    await node.reconnect();
  }
  return true;
}

/** Shows the browser's list of devices. */
async function ask(name: string | undefined): Promise<boolean> {
  try {
    const device = await requestNode(navigator.bluetooth, isNamed ? name : undefined);
    await node.choose(device);
    element("device-name").textContent = device.name ?? "";
    element("device-chosen").hidden = false;
    element("device-choosing").hidden = true;
    return true;
  } catch (error) {
    isNamed = false;
    const reason = await refusal(error);
    say(() => siteText(reason));
    return false;
  }
}

async function refusal(error: unknown): Promise<SiteKey> {
  if (!(error instanceof DOMException) || error.name !== "NotFoundError") {
    return "device.blocked";
  }
  return (await navigator.bluetooth.getAvailability()) ? "device.none" : "device.off";
}

/** Takes a code that was not typed; returns whether it is one. */
function keep(code: string): boolean {
  let secret;
  try {
    secret = PairingSecret.parse(code);
  } catch {
    return false;
  }
  input("digits").value = secret.kind === "code" ? code : "";
  label = secret.kind === "qr" ? code : undefined;
  showLabel(secret.nodeName);
  secret.wipe();
  mark({});
  element("code").querySelector<HTMLElement>("button.main")?.focus();
  return true;
}

/** Shows that the label was read, or the field for the digits. */
function showLabel(name: string | undefined): void {
  const form = element("code");
  form.classList.toggle("read", name !== undefined);
  write(form.querySelector("h1") as HTMLElement, name === undefined ? "code.title" : "label.title");
  element("label").hidden = name === undefined;
  element("label-name").textContent = name ?? "";
}

async function scan(): Promise<void> {
  const { signal } = (camera = new AbortController());
  say(undefined);
  showCamera(true);
  try {
    await read(element<HTMLVideoElement>("label-video"), take, signal);
  } catch {
    say(() => siteText("camera.failed"));
  } finally {
    showCamera(false);
  }
}

function showCamera(isShown: boolean): void {
  write(element("label-camera-text"), "camera.text");
  element("label-camera").hidden = !isShown;
  element("label-scan").hidden = isShown;
}

/** Takes a QR code of the label: that for pairing, or a link with it. */
function take(code: string): boolean {
  if (keep(code)) {
    return true;
  }
  const fragment = /#.*\bcode=.*$/.exec(code)?.[0];
  if (fragment === undefined) {
    write(element("label-camera-text"), "camera.other");
    return false;
  }
  location.hash = fragment;
  return true;
}

function listen(): void {
  const clicked = (id: string, act: () => unknown) => element(id).addEventListener("click", () => void act());
  clicked("label-scan", scan);
  clicked("label-stop", () => camera?.abort());
  clicked("device-another", () => {
    isNamed = false;
    return ask(undefined);
  });
  clicked("label-type", () => {
    label = undefined;
    showLabel(undefined);
    input("digits").focus();
  });
  element("code").addEventListener("submit", () => {
    camera?.abort();
    input("digits").value = label ?? input("digits").value;
  });
}

/** Says what to do without Bluetooth. */
function explain(): void {
  for (const id of ["code", "trail"]) {
    element(id).hidden = true;
  }
  element("unsupported").hidden = false;
}

function offerUpdate(load: () => void): void {
  element("update").hidden = false;
  element("update-load").onclick = load;
}

addTexts();
listen();
setUp({
  transport: node,
  choose,
  keep: (code) => {
    if (!keep(code)) {
      input("digits").value = code;
    }
  },
});
if ((navigator.bluetooth as Bluetooth | undefined) === undefined) {
  explain();
} else {
  void canRead().then((isAble) => (element("label-scan").hidden = !isAble));
}
// A browser without it works with the network only.
void keepOffline(offerUpdate).catch(() => undefined);
