/** The page of network care for an owner with the code on the label, in a real browser at a simulated node. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import { ScriptedNode } from "../../client/test/support/node.js";
import type { Node } from "../../client/test/support/programs.js";
import { LIGHT, LOOKS, PASSWORD, center, check, connect, focused, link, scene, skip } from "./browser.js";
import { answerBy } from "./support.js";

const LIVE = "#live:has-text('Live')";
let folder: string;
/** Settings with a token, which these owners do not know. */
let settings: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "jarvis-web-"));
  writeFileSync(join(folder, "token"), "4cb1-a-token\n", { mode: 0o600 });
  settings = `[care]\nenabled = true\ntoken_file = "${join(folder, "token")}"\n`;
});
after(() => rmSync(folder, { recursive: true }));

async function enter(page: Page, typed: string): Promise<void> {
  await page.waitForSelector("#login:not([hidden])");
  await page.fill("#token", typed);
  await page.keyboard.press("Enter");
}

/** Another code than the node's. */
function wrong({ code }: Node): string {
  return code === "000000" ? "111111" : "000000";
}

test("with the code an owner does everything, and nothing of it is in clear", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await page.goto(link(node, await center.order(), node.code));
      await page.waitForSelector("#list button");
      await connect(page, "HomeNetwork", PASSWORD);
      await page.click("#care");
      await enter(page, wrong(node));
      await page.waitForSelector("#token-error:has-text('The pairing code is wrong.')");
      assert.equal(await focused(page), "token");
      const sent: string[] = [];
      page.on("request", (request) => {
        sent.push(`${new URL(request.url()).pathname} ${request.postDataBuffer()?.toString("latin1") ?? ""}`);
      });
      await enter(page, `${node.code.slice(0, 3)} ${node.code.slice(3)}`);
      await page.waitForSelector(LIVE);
      assert.equal(await page.inputValue("#token"), "");
      await page.waitForSelector("#health-text:has-text('Online in HomeNetwork.')");
      await page.waitForSelector("#events li:has-text('Device manager started')");
      await page.click("#check");
      await page.waitForSelector("#layers .ok:has-text('Wi-Fi adapter')");

      await page.click("#change");
      await page.waitForSelector('#list li:has-text("HomeNetwork") .badge');
      assert.ok(await page.isDisabled('#list button:has-text("Office")'), "a login is the setup page's");
      await page.click('#list button:has-text("Lighthouse")');
      assert.equal(await page.isVisible("#clear"), false, "the password is not sent in clear");
      await page.fill("#passphrase", "not the password");
      await page.click("#join .main");
      await page.waitForSelector("#notice.bad:has-text('Lighthouse did not work: The Wi-Fi password is wrong.')");
      await page.waitForSelector("#notice:has-text('The device has returned to HomeNetwork.')");
      await page.click("#change");
      await page.click('#list button:has-text("Lighthouse")');
      await page.fill("#passphrase", PASSWORD);
      await page.click("#join .main");
      await page.waitForSelector("#notice:has-text('The device is in Lighthouse.')");
      await page.waitForSelector("#health-text:has-text('Online in Lighthouse.')");
      await page.click("#saved li:has-text('HomeNetwork') button");
      await page.click("#saved .ask button >> nth=0");
      await page.waitForSelector("#notice:has-text('HomeNetwork is forgotten.')");

      await page.click("#recover");
      await page.waitForSelector('#history li.mood-success:has-text("Network recovery: back in Lighthouse")');
      const times = await page.$$eval("#history time", (all) => all.map((time) => Date.parse(time.getAttribute("datetime") ?? "")));
      assert.ok(times.length >= 2 && times.every((time) => Math.abs(Date.now() - time) < 60_000), times.join());
      await page.click("#label");
      await page.waitForSelector(`#label-code:has-text("${node.code.slice(0, 3)} ${node.code.slice(3)}")`);
      assert.ok(((await page.getAttribute("#qr path", "d")) ?? "").split("M").length > 300, "a QR code");
      await page.click("#hotspot");
      await page.click("#hotspot + .ask button >> nth=0");
      await page.waitForSelector("#hotspot-state:has-text('is open. The password is on the label.')");
      await page.click("#reset");
      await page.click("#reset + .ask button >> nth=0");
      await page.waitForSelector("#notice:has-text('The device is reset.')");

      assert.deepEqual(
        sent.filter((request) => request.startsWith("/api/provisioning/")),
        [],
      );
      assert.deepEqual(
        sent.filter((request) => [PASSWORD, node.code, "Lighthouse"].some((secret) => request.includes(secret))),
        [],
      );
      assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
    },
    settings,
  ),
);

test("the label of the second owner is that of the API", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await page.goto(`${node.url}/care#token=4cb1-a-token`);
      const drawn = async () => {
        await page.waitForSelector(LIVE);
        await page.click("#label");
        await page.waitForSelector("#label-box:not([hidden])");
        return page.getAttribute("#qr path", "d");
      };
      const byToken = await drawn();
      await page.goto("about:blank");
      await page.goto(`${node.url}/care#code=${node.code}`);
      assert.equal(await drawn(), byToken);
      assert.equal(page.url(), `${node.url}/care`);
    },
    settings,
  ),
);

test("where the API answers nobody, the code opens the page", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await page.route("**/api/provisioning/status", (route) => route.fulfill({ status: 403, json: { error: "no" } }));
      await page.goto(`${node.url}/care`);
      await enter(page, "4cb1-a-token");
      await page.waitForSelector("#token-error:has-text('The token is wrong.')");
      await enter(page, node.code);
      await page.waitForSelector(LIVE);
    },
    "[care]\nenabled = true\n",
  ),
);

test("a session that is lost is opened again by itself, and another phone need not wait for a page that is closed", { skip }, () =>
  scene(
    LIGHT,
    async (page, node, context) => {
      await page.clock.install();
      await page.goto(`${node.url}/care#code=${node.code}`);
      await page.waitForSelector(LIVE);
      await page.route("**/api/v1/**", (route) => route.abort("addressunreachable"));
      for (let waited = 0; waited < 4; waited += 1) {
        await page.clock.runFor(6_000);
      }
      await page.waitForSelector("#lost:has-text('No connection to the device.')");
      await page.waitForSelector("#live:has-text('Not live')");
      await page.unroute("**/api/v1/**");
      for (let waited = 0; waited < 4; waited += 1) {
        await page.clock.runFor(6_000);
      }
      await page.waitForSelector("#lost", { state: "hidden" });
      await page.waitForSelector("#live:text-is('Live')");
      const other = await context.newPage();
      await other.goto(`${node.url}/care#code=${node.code}`);
      await other.waitForSelector("#token-error:has-text('Another phone is setting up this device.')");
      await page.close();
      await enter(other, node.code);
      await other.waitForSelector(LIVE);
    },
    settings,
  ),
);

for (const [colorScheme, locale, direction] of LOOKS) {
  test(`too many wrong codes lock the page as every phone, and say for how long: ${colorScheme}, ${locale}`, { skip }, () =>
    scene(
      { viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" },
      async (page, node) => {
        await page.goto(`${node.url}/care`);
        assert.equal(await page.getAttribute("html", "dir"), direction);
        for (let guess = 0; guess < 6; guess += 1) {
          await enter(page, wrong(node));
          await page.waitForSelector("#enter:not([disabled])");
          await page.waitForSelector("#token-error:not([hidden])");
        }
        assert.match((await page.textContent("#token-error")) ?? "", /^[^\\]* (1:00|0:\d\d)\.$/);
        await check(page, "care code locked");
        await enter(page, node.code);
        await page.waitForSelector("#enter:not([disabled])");
        assert.ok(await page.isVisible("#token-error"), "the right code waits, too");
      },
      settings,
    ),
  );
}

test("what a node says in the session is text, and lies break nothing", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      const bad = "<img src=x onerror=alert(1)>\u202e";
      const scripted = new ScriptedNode();
      scripted.networks = [bad, "Attic"];
      scripted.care = (request) => {
        switch (request?.$case) {
          case "status": {
            const value = { connected: true, ssid: new TextEncoder().encode(bad), address: bad, internet: false, hotspot: false };
            return [{ $case: "careStatus", value: { ...value, lastError: bad, recovery: 9 as 1 } }];
          }
          case "saved":
            return [{ $case: "saved", value: { networks: [{ name: bad, autoconnect: true, active: true }], last: true } }];
          case "diagnose":
            return [{ $case: "diagnosis", value: { layers: [{ name: bad, verdict: 7 as 1, evidence: bad, advice: bad }] } }];
          case "events": {
            const event = { id: bad, level: 9 as 1, message: bad, action: "recovery.x", phase: 9 as 1 };
            return [{ $case: "events", value: { events: [event], last: true, gap: true } }];
          }
          case "label":
            return [{ $case: "label", value: { name: bad, code: bad, pairingQr: bad, size: 4e9, modules: Uint8Array.of(255, 1) } }];
          default:
            return [{ $case: "networks", value: { networks: [], last: true } }];
        }
      };
      await answerBy(page, scripted);
      await page.goto(`${node.url}/care#code=${scripted.code}`);
      await page.waitForSelector("#events li");
      await page.click("#check");
      await page.waitForSelector("#layers .advice");
      await page.click("#label");
      await page.waitForSelector("#label-box:not([hidden])");
      await page.click("#recover");
      await page.waitForSelector("#notice.bad:not([hidden])");
      await page.click("#change");
      await page.waitForSelector("#list button");
      assert.equal(await page.locator("img").count(), 0);
      assert.ok(!((await page.textContent("main")) ?? "").includes("\u202e"));
      assert.match((await page.textContent("#health-text")) ?? "", /<img src=x onerror=alert\(1\)>/);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "too wide");
    },
    settings,
  ),
);
