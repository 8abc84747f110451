/** A browser with the site, a server for it, and nodes in range of an emulated adapter. */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { chromium } from "playwright-core";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";

import { isFailedLoad, isHint } from "../../page/test/console.js";
import { picture } from "../../page/test/pictures.js";
import { Center, Node, missingPrograms } from "../../client/test/support/programs.js";
import type { Order } from "../../client/test/support/programs.js";
import { Peripheral, notifiable } from "./emulated.js";
import { SiteServer } from "./server.js";

const CHROMIUM = "/usr/bin/chromium";
const ARGS = [
  // Chromium's sandbox needs rights that root in a container does not have.
  "--no-sandbox",
  // Web Bluetooth on Linux is behind a switch.
  "--enable-features=WebBluetooth",
  // A camera without hardware.
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];
/** What Chromium says about Web Bluetooth on Linux. */
const EXPERIMENTAL = "Web Bluetooth is experimental on this platform.";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const PASSWORD = "correct horse battery";
/** The size of a small phone, pixels of CSS. */
export const PHONE = { width: 360, height: 740 };
export const LIGHT: BrowserContextOptions = { viewport: PHONE, colorScheme: "light", locale: "en-US" };

/** Why these tests cannot run here; false if they can. CI fails instead. */
export function missing(): string | false {
  const isThere = existsSync(CHROMIUM);
  assert.ok(isThere || process.env["CI"] === undefined, "CI has Chromium (Debian: chromium)");
  return missingPrograms() || (isThere ? false : "SKIPPED: there is no Chromium (Debian: chromium)");
}

/** A page of the site, and a node within range. */
export interface Scene {
  readonly context: BrowserContext;
  readonly page: Page;
  readonly node: Node;
  readonly peripheral: Peripheral;
}

/** What the scenes have in common. */
export class Stage {
  readonly center: Center;
  readonly server: SiteServer;
  readonly #browser: Browser;

  private constructor(browser: Browser, center: Center, server: SiteServer) {
    [this.#browser, this.center, this.server] = [browser, center, server];
  }

  static async start(): Promise<Stage> {
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
    return new Stage(browser, await Center.start(), await SiteServer.start());
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    await this.center.stop();
    await this.server.stop();
  }

  /** A node and a page of its own. It fails if the page loads anything from elsewhere, says anything, or stores anything. */
  async scene(options: BrowserContextOptions, act: (scene: Scene) => Promise<void>): Promise<void> {
    const node = await Node.start();
    const context = await this.#browser.newContext(options);
    await notifiable(context);
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    const requested: string[] = [];
    const said: string[] = [];
    context.on("request", (request) => requested.push(request.url()));
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    const peripheral = await Peripheral.start(this.#browser, page, node);
    try {
      await act({ context, page, node, peripheral });
      const own = [this.server.url, `${node.url}/`, "data:"];
      const isForeign = (url: string) => !own.some((start) => url.startsWith(start));
      // What was not reached: a node without network care has no page for it.
      const isExpected = (text: string) => text.startsWith(EXPERIMENTAL) || isHint(text) || isFailedLoad(text);
      assert.deepEqual([requested.filter(isForeign), said.filter((text) => !isExpected(text))], [[], []]);
      assert.deepEqual(await context.cookies(), []);
      assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
    } finally {
      await context.close();
      await peripheral.stop();
      await node.stop();
    }
  }

  /** The site's address with an order in the fragment, and a code if there is one. */
  link(order: Order, code = ""): string {
    const values = { center: order.commandCenterUrl, node: order.nodeId, token: order.provisioningToken, code };
    return `${this.server.url}#${new URLSearchParams(values).toString()}`;
  }
}

/** Fails if axe finds anything, or if the page is wider than the window. */
export async function checkView(page: Page, view: string): Promise<void> {
  await page.evaluate(AXE);
  const found = await page.evaluate(
    "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`))",
  );
  assert.deepEqual(found, [], view);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} is too wide`);
  await picture(page, `site ${view}`);
}

/** Counts what an owner does in a page: taps, and characters that are typed. */
export async function countEffort(page: Page): Promise<() => Promise<{ taps: number; typed: number }>> {
  await page.addInitScript(() => {
    const effort = { taps: 0, typed: 0 };
    Object.assign(globalThis, { effort });
    addEventListener("pointerdown", () => (effort.taps += 1), true);
    addEventListener("beforeinput", (event) => (effort.typed += (event as InputEvent).data?.length ?? 0), true);
  });
  return () => page.evaluate("effort");
}
