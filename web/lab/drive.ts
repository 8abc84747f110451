/**
 * Drives a browser that uses the radios of a guest of the laboratory: `drive FOLDER PROXY_PORT BUS_PORT`.
 *
 * Scenarios (`tests/lab/browser.rs`) put scenes into the folder; each gets a browser of its own, and an outcome. The browser's way to the
 * guest are two ports of this machine: a SOCKS proxy at the guest's phone, and the guest's system bus.
 */

import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";

import type { Order } from "../client/test/support/programs.js";
import { prompted } from "../site/test/emulated.js";
import { SiteServer } from "../site/test/server.js";

/** What a scenario wants. */
interface Scene {
  readonly by: "page" | "site";
  readonly name: string;
  readonly code: string;
  readonly ssid: string;
  readonly password: string;
  readonly order: Order;
}

/** What is measured, by name. */
type Figures = Record<string, number | string>;

const CHROMIUM = "/usr/bin/chromium";
/** Limit of every wait, milliseconds: the radios and the node are emulated. */
const PATIENCE = 180_000;
/** What phones and computers ask when they have joined a network. */
const PROBES = [
  "http://connectivitycheck.gstatic.com/generate_204",
  "http://captive.apple.com/hotspot-detect.html",
  "http://www.msftconnecttest.com/connecttest.txt",
  "http://nmcheck.gnome.org/check_network_status.txt",
];
/** The page in the access point. */
const PAGE = "http://192.168.4.1:8080/";

const [folder = "", proxyPort = "", busPort = ""] = process.argv.slice(2);

for (;;) {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".scene"))) {
    const name = join(folder, file.slice(0, -".scene".length));
    if (!existsSync(`${name}.outcome`)) {
      await play(name, JSON.parse(readFileSync(`${name}.scene`, "utf8")) as Scene);
    }
  }
  await pause(100);
}

/** Plays a scene and writes its outcome. */
async function play(name: string, scene: Scene): Promise<void> {
  let outcome: { figures: Figures } | { error: string };
  const env = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: `tcp:host=127.0.0.1,port=${busPort}` } as Record<string, string>;
  // The sandbox needs rights that root in a container does not have. Web Bluetooth on Linux is behind a switch.
  const args = ["--no-sandbox", "--enable-features=WebBluetooth"];
  const browser = await chromium.launch({ executablePath: CHROMIUM, args, ...(scene.by === "site" ? { env } : {}) });
  let page: Page | undefined;
  try {
    page = await open(browser, scene);
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    const picture = (view: string) => page?.screenshot({ path: `${name}-${view}.png` });
    const available = () => writeFileSync(`${name}.available`, "");
    const figures = scene.by === "page" ? await byPage(page, scene, picture) : await bySite(page, scene, picture, available);
    assert.deepEqual(errors, []);
    outcome = { figures };
  } catch (error) {
    outcome = { error: `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n${page?.url() ?? ""}` };
    await page?.screenshot({ path: `${name}-failed.png` }).catch(() => undefined);
  } finally {
    await browser.close();
  }
  writeFileSync(`${name}.part`, JSON.stringify(outcome));
  renameSync(`${name}.part`, `${name}.outcome`);
}

async function open(browser: Browser, scene: Scene): Promise<Page> {
  const context = await browser.newContext({
    viewport: { width: 360, height: 740 },
    locale: "en-US",
    ...(scene.by === "page" ? { proxy: { server: `socks5://127.0.0.1:${proxyPort}` } } : {}),
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  return page;
}

/** From the phone's probes to the device in the home network, by the page of the node. */
async function byPage(page: Page, scene: Scene, picture: (view: string) => unknown): Promise<Figures> {
  const figures: Figures = {};
  const seconds = stopwatch();
  for (const [index, probe] of PROBES.entries()) {
    await page.goto(probe);
    assert.equal(page.url(), PAGE, probe);
    await page.waitForSelector(`#device:has-text("${scene.name}")`);
    if (index === 0) {
      figures["from the probe to the page with the device's name, s"] = seconds();
      figures["first paint after the redirect, ms"] = await page.evaluate(firstPaint);
    }
  }
  await picture("code");
  await page.fill("#digits", scene.code === "000000" ? "000001" : "000000");
  await page.click("#code .main");
  await page.waitForSelector("#digits-error:has-text('The pairing code is wrong')");
  await page.fill("#digits", scene.code);
  await page.click("#code .main");
  await choose(page, scene);
  await picture("networks");
  for (const [id, value] of Object.entries(scene.order)) {
    await page.fill(`#${id}`, value as string);
  }
  await page.fill("#passphrase", "not the password");
  const failing = stopwatch();
  await page.click("#details .main");
  const wasAway = page.waitForSelector("#away:not([hidden])").then(
    () => picture("away"),
    () => undefined,
  );
  await page.waitForSelector("#passphrase-error:has-text('The Wi-Fi password is wrong.')");
  figures["the wrong password is named after, s"] = failing();
  await picture("wrong-password");
  await page.fill("#passphrase", scene.password);
  const succeeding = stopwatch();
  await page.click("#details .main");
  await wasAway;
  await page.waitForSelector("#away:not([hidden])");
  await page.waitForSelector("#away-home:not([hidden])");
  figures["found in the home network after, s"] = succeeding();
  await picture("found");
  await page.click("#home");
  await page.waitForSelector("#done:not([hidden])");
  assert.equal(page.url(), `http://${scene.name}.local:8080/`);
  await picture("done");
  return figures;
}

/** From the browser's list of devices to the outcome, by the site; `available` says that the browser has a controller. */
async function bySite(page: Page, scene: Scene, picture: (view: string) => unknown, available: () => void): Promise<Figures> {
  const figures: Figures = {};
  const server = await SiteServer.start();
  try {
    const { commandCenterUrl: center, nodeId: node, provisioningToken: token } = scene.order;
    await page.goto(`${server.url}#${new URLSearchParams({ center, node, token }).toString()}`);
    await page.fill("#digits", scene.code === "000000" ? "000001" : "000000");
    // Until the browser has heard of its adapter, which takes a moment over a slow bus, it tells the page that Bluetooth is off.
    while (!(await page.evaluate(() => navigator.bluetooth.getAvailability()))) {
      await pause(100);
    }
    available();
    const choosing = stopwatch();
    await prompted(page, () => page.click("#code .main"), true, PATIENCE);
    figures["chosen after, s"] = choosing();
    await page.waitForSelector("#digits-error:has-text('The pairing code is wrong')");
    figures["the wrong code is named after, s"] = choosing();
    assert.equal(await page.textContent("#device"), scene.name);
    await page.fill("#digits", scene.code);
    await page.click("#code .main");
    await choose(page, scene);
    await page.fill("#passphrase", "not the password");
    const failing = stopwatch();
    await page.click("#details .main");
    await page.waitForSelector("#passphrase-error:has-text('The Wi-Fi password is wrong.')");
    figures["the wrong password is named after, s"] = failing();
    await picture("wrong-password");
    await page.fill("#passphrase", scene.password);
    const succeeding = stopwatch();
    await page.click("#details .main");
    await page.waitForSelector(`#done:has-text("It is online in ${scene.ssid}.")`);
    figures["done after, s"] = succeeding();
    await picture("done");
  } finally {
    await server.stop();
  }
  return figures;
}

/** Chooses the network, which a first scan may have missed. */
async function choose(page: Page, { ssid }: Scene): Promise<void> {
  await page.waitForSelector("#networks:not([hidden])");
  const network = page.locator(`#list button:has-text("${ssid}")`);
  await page.waitForSelector("#refresh:not([disabled])");
  while ((await network.count()) === 0) {
    await page.click("#refresh");
    await page.waitForSelector("#refresh:not([disabled])");
  }
  await network.first().click();
  await page.waitForSelector("#details:not([hidden])");
}

function firstPaint(): number {
  return Math.round(performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? -1);
}

/** Returns how many seconds have passed. */
function stopwatch(): () => number {
  const started = performance.now();
  return () => Math.round((performance.now() - started) / 100) / 10;
}
