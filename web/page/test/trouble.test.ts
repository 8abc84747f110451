/** The setup page where something is wrong with the browser: two tabs, back and reload, a wrong clock, a slow link, no script. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Page } from "playwright-core";

import { errorText } from "../../client/src/index.js";
import type { Language } from "../../client/src/index.js";
import { LIGHT, LOOKS, PASSWORD, center, check, connect, link, pair, scene, skip } from "./browser.js";

/** A slow link, bytes in a second, and its latency, milliseconds. */
const SLOW = { throughput: 2048, latency: 300 };
/** Limit of a wait on that link, milliseconds. */
const PATIENCE = 90_000;
/** Where the settings say that the owner continues. */
const NEXT = "https://home.example/a&b";

// The slow link waits; the other tests use the time.
describe("trouble", { concurrency: 4, skip }, () => {
  test("over two kibibytes a second the page is painted before it has loaded, and succeeds", { timeout: 170_000 }, () =>
    scene(LIGHT, async (page, node, context) => {
      page.setDefaultTimeout(PATIENCE);
      const network = await context.newCDPSession(page);
      await network.send("Network.emulateNetworkConditions", {
        offline: false,
        latency: SLOW.latency,
        downloadThroughput: SLOW.throughput,
        uploadThroughput: SLOW.throughput,
      });
      let isLoaded = false;
      page.on("requestfinished", (request) => (isLoaded ||= request.url().endsWith("/page.js")));
      await page.goto(link(node, await center.order(), node.code), { waitUntil: "commit" });
      await page.waitForSelector("#code h1:has-text('Enter the pairing code')");
      assert.equal(isLoaded, false, "the text is there before the script");
      await page.waitForSelector("#list button");
      await connect(page, "Lighthouse", PASSWORD);
      await page.waitForSelector("#done:has-text('Lighthouse')");
    }),
  );

  test("the document alone is painted, with its style", () =>
    scene(LIGHT, async (page, node) => {
      let load: () => void = () => undefined;
      const later = new Promise<void>((resolve) => (load = resolve));
      await page.route(
        ({ pathname }) => pathname !== "/",
        (route) => later.then(() => route.continue()),
      );
      await page.goto(node.url, { waitUntil: "commit" });
      await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
      assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("main") as Element).borderRadius), "16px");
      assert.equal(await page.textContent("#device"), "jarvis", "the script has not run");
      load();
      await page.waitForSelector(`#device:has-text("${node.name}")`);
    }));

  test("the second of two tabs waits for the first, and follows its attempt", () =>
    scene(LIGHT, async (first, node, context) => {
      await first.goto(link(node, { ...(await center.order()), commandCenterUrl: "http://127.0.0.1:9" }, node.code));
      await first.waitForSelector("#list button");
      const second = await context.newPage();
      await second.goto(node.url);
      await second.fill("#digits", node.code);
      await second.click("#code .main");
      await second.waitForSelector("#notice:has-text('Another phone is setting up this device.')");
      await connect(first, "Lighthouse", PASSWORD);
      await first.waitForSelector("#steps .now:has-text('Registers')");
      await first.close();
      await second.reload();
      await second.waitForSelector("#notice:has-text('The device is being set up.')");
      await second.fill("#digits", node.code);
      await second.click("#code .main");
      await second.waitForSelector("#steps .now:has-text('Registers')");
      await second.click("#cancel");
      await second.waitForSelector("#notice:has-text('The setup was cancelled.')");
    }));

  /** What each state needs, and how it is reached from the one before. */
  const states: readonly [string, (page: Page, code: string) => Promise<unknown>][] = [
    ["#code", (page) => page.waitForSelector("#code:not([hidden])")],
    ["#networks", pair],
    ["#details", (page) => page.click('#list button:has-text("Lighthouse")')],
    ["#progress", (page) => page.fill("#passphrase", PASSWORD).then(() => page.click("#details .main"))],
  ];

  for (const [leave, first, way] of [
    ["a reload in every state", 0, (page: Page) => page.reload()],
    // What only shows something is loaded again in both cases.
    ["back and forward in the form and the attempt", 2, (page: Page) => page.goto("about:blank").then(() => page.goBack())],
  ] as const) {
    test(`after ${leave} the setup is completed`, () =>
      scene(LIGHT, async (page, node) => {
        const order = { ...(await center.order()), commandCenterUrl: "http://127.0.0.1:9" };
        for (let last = first; last < states.length; last += 1) {
          await page.goto("about:blank");
          await page.goto(link(node, order));
          for (const [view, reach] of states.slice(0, last + 1)) {
            await reach(page, node.code);
            await page.waitForSelector(`${view}:not([hidden])`);
          }
          await way(page);
          await page.waitForSelector("#code:not([hidden])");
        }
        await page.waitForSelector("#notice:has-text('The device is being set up.')");
        await page.fill("#digits", node.code);
        await page.click("#code .main");
        await page.waitForSelector("#steps .now:has-text('Registers')");
        await page.click("#cancel");
        await page.waitForSelector("#notice:has-text('The setup was cancelled.')");
        await page.goto("about:blank");
        await page.goto(link(node, await center.order(), node.code));
        await page.waitForSelector("#list button");
        await connect(page, "Lighthouse", PASSWORD);
        await page.waitForSelector("#done:not([hidden])");
        await way(page);
        await page.waitForSelector("#done:not([hidden])");
      }));
  }

  test("back leads from the form to the list, and keeps the session", () =>
    scene(LIGHT, async (page, node) => {
      await page.goto(link(node, await center.order(), node.code));
      await page.click('#list button:has-text("Lighthouse")');
      await page.waitForSelector("#details:not([hidden])");
      await page.evaluate(() => history.back());
      await page.waitForSelector("#networks:not([hidden])");
      await page.click('#list button:has-text("HomeNetwork")');
      await page.click("#choose");
      await page.waitForSelector("#networks:not([hidden])");
      await connect(page, "Lighthouse", PASSWORD);
      await page.waitForSelector("#done:has-text('Lighthouse')");
    }));

  for (const year of [1970, 2099]) {
    test(`a phone whose clock shows ${year} sets up a node`, () =>
      scene(LIGHT, async (page, node) => {
        await page.addInitScript(
          (time) => {
            const offset = time - Date.now();
            const now = Date.now.bind(Date);
            Date.now = () => now() + offset;
          },
          Date.UTC(year, 1),
        );
        const wrong = node.code === "000000" ? "000001" : "000000";
        await page.goto(link(node, await center.order(), wrong));
        await page.waitForSelector("#digits-error:has-text('The pairing code is wrong')");
        await pair(page, node.code);
        await connect(page, "Lighthouse", PASSWORD);
        await page.waitForSelector("#done:has-text('Lighthouse')");
      }));
  }

  test("without a script, a form sets up the node and shows how it goes", () =>
    scene(
      { ...LIGHT, javaScriptEnabled: false },
      async (page, node) => {
        const order = await center.order();
        await page.goto(node.url);
        await page.click("noscript a");
        await page.selectOption("#network", "Lighthouse");
        const values = {
          password: "not the password",
          code: node.code,
          center: order.commandCenterUrl,
          node: order.nodeId,
          token: order.provisioningToken,
          household: order.householdId,
        };
        for (const [id, value] of Object.entries(values)) {
          await page.fill(`#${id}`, value);
        }
        await page.click("button.main");
        await page.waitForSelector(".notice.bad:has-text('The Wi-Fi password is wrong.')");
        assert.equal(page.url(), `${node.url}/form/outcome`);
        await page.click("a:has-text('Try again')");
        for (const [id, value] of Object.entries({ ...values, password: PASSWORD, code: "" })) {
          await page.fill(`#${id}`, value);
        }
        await page.fill("#code", `${node.code.slice(0, 3)} ${node.code.slice(3)}`);
        await page.selectOption("#network", "Lighthouse");
        await page.click("button.main");
        await page.waitForSelector("h1:has-text('Your device is ready')");
        await page.reload();
        await page.waitForSelector("h1:has-text('Your device is ready')");
        const next = page.locator(`p:has-text("Continue here:") a`);
        assert.deepEqual([await next.textContent(), await next.getAttribute("href")], [NEXT, NEXT]);
      },
      `next_url = "${NEXT}"\n`,
    ));

  for (const [colorScheme, locale, direction] of LOOKS) {
    test(`the form without a script is accessible and fits 320 pixels: ${colorScheme}, ${locale}`, () =>
      scene({ viewport: { width: 320, height: 640 }, colorScheme, locale }, async (page, node) => {
        await page.goto(`${node.url}/form`);
        assert.deepEqual(
          [await page.getAttribute("html", "dir"), await page.getAttribute("html", "lang")],
          [direction, locale.slice(0, 2)],
        );
        await check(page, "form");
        await page.fill("#password", "short");
        await page.fill("#code", "000000");
        for (const id of ["node", "token"]) {
          await page.fill(`#${id}`, "x");
        }
        await page.fill("#center", "http://center.example");
        await page.click("button.main");
        await page.waitForSelector(`.notice.bad:has-text("${errorText("InvalidPassphrase", locale.slice(0, 2) as Language)}")`);
        assert.equal(await page.inputValue("#center"), "http://center.example");
        await check(page, "filled form with an error");
        await page.goto(`${node.url}/form/outcome`);
        await check(page, "form outcome");
      }));
  }
});
