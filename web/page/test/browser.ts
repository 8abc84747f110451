/** Scenes in a real browser: a page at a simulated node of its own. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before } from "node:test";

import { chromium } from "playwright-core";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";

import { Center, Node, missingPrograms } from "../../client/test/support/programs.js";
import type { Order } from "../../client/test/support/programs.js";
import { isFailedLoad, isHint } from "./console.js";
import { picture } from "./pictures.js";

const CHROMIUM = "/usr/bin/chromium";
/** The password of the simulated network Lighthouse. */
export const PASSWORD = "correct horse battery";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** The size of a small phone, pixels of CSS. */
const PHONE = { width: 360, height: 740 };
export const LIGHT: BrowserContextOptions = { viewport: PHONE, colorScheme: "light", locale: "en-US" };
/** The ways in which every view has to be accessible: color scheme, locale, direction. */
export const LOOKS = [
  ["light", "en-US", "ltr"],
  ["dark", "de-DE", "ltr"],
  ["light", "ar-EG", "rtl"],
] as const;

export const skip = missingPrograms() || missingBrowser();

function missingBrowser(): string | false {
  const isThere = existsSync(CHROMIUM);
  assert.ok(isThere || process.env["CI"] === undefined, "CI has Chromium (Debian: chromium)");
  return isThere ? false : "SKIPPED: there is no Chromium (Debian: chromium)";
}

let browser: Browser;
export let center: Center;
before(async () => {
  if (skip === false) {
    // Chromium's sandbox needs rights that root in a container does not have.
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--use-fake-device-for-media-stream"] });
    center = await Center.start();
  }
});
after(async () => {
  await browser?.close();
  await center?.stop();
});

/**
 * A page at a node with these settings. It fails if the page loads anything from elsewhere, or says anything to the console that is
 * not expected.
 */
export async function scene(
  options: BrowserContextOptions,
  act: (page: Page, node: Node, context: BrowserContext) => Promise<void>,
  settings = "",
  isExpected: (said: string) => boolean = isFailedLoad,
): Promise<void> {
  const node = await Node.start(settings);
  const context = await browser.newContext(options);
  try {
    const requested: string[] = [];
    const said: string[] = [];
    context.on("page", (page) => {
      page.setDefaultTimeout(20_000);
      page.on("request", (request) => {
        requested.push(request.url());
        if (request.url().startsWith(`${node.url}/api/v1/`) && !("jarvis-page" in request.headers())) {
          said.push(`without the mark, the node takes the page for an app: ${request.url()}`);
        }
      });
      page.on("console", (message) => isHint(message.text()) || said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
    });
    const page = await context.newPage();
    await act(page, node, context);
    const own = [`${node.url}/`, `http://${node.name}.local:`, "data:,"];
    assert.deepEqual(
      requested.filter((url) => !own.some((start) => url.startsWith(start))),
      [],
    );
    assert.deepEqual(
      said.filter((text) => !isExpected(text)),
      [],
    );
    assert.deepEqual(await context.cookies(), []);
  } finally {
    await context.close();
    await node.stop();
  }
}

/** A link that carries an order, and a code. */
export function link(node: Node, order: Order, code = ""): string {
  const values = {
    center: order.commandCenterUrl,
    node: order.nodeId,
    token: order.provisioningToken,
    household: order.householdId,
    code,
  };
  return `${node.url}/#${new URLSearchParams(values).toString()}`;
}

export async function pair(page: Page, code: string): Promise<void> {
  await page.fill("#digits", code);
  await page.click("#code .main");
  await page.waitForSelector("#list button");
}

export async function connect(page: Page, network: string, password: string): Promise<void> {
  await page.click(`#list button:has-text("${network}")`);
  await page.fill("#passphrase", password);
  await page.click("#details .main");
}

export function focused(page: Page): Promise<string> {
  return page.evaluate(() => document.activeElement?.id ?? "");
}

/** Moves the focus with the key Tab. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let step = 0; step < 60; step += 1) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted) === true, selector)) {
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`the key Tab does not reach ${selector}`);
}

/** Fails if axe finds something, or if the page is wider than the screen. */
export async function check(page: Page, view: string): Promise<void> {
  await page.evaluate(AXE);
  const found = await page.evaluate(
    "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`))",
  );
  assert.deepEqual(found, [], view);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} is too wide`);
  await picture(page, view);
}
