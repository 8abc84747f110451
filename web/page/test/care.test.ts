/** The page of network care in a real browser, served by a simulated node. */

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import type { Page, Route } from "playwright-core";

import { events } from "../care/api.js";
import advice from "../care/advice.json" with { type: "json" };
import { advised } from "../care/texts.js";
import texts from "../care/texts.json" with { type: "json" };
import { LANGUAGES } from "../language.js";
import type { Node } from "../../client/test/support/programs.js";
import { LIGHT, LOOKS, PASSWORD, center, check, connect, focused, link, scene, skip, tabTo } from "./browser.js";

const CARE = "[care]\nenabled = true\n";
const API = "**/api/provisioning";
const HTML = readFileSync("page/care/index.html", "utf8");
const SCRIPTS = ["main", "view", "sealed", "texts"].map((name) => readFileSync(`page/care/${name}.ts`, "utf8")).join("\n");
/** Names that are built from what the node says. */
const BUILT = /^(layer|verdict|events\.level|recovery)\./;

/** The status of a device in its network. */
function status(network: object = {}, recovery: object = {}): object {
  return {
    hostname: "kitchen",
    network: {
      provisioned: true,
      connected: true,
      internetReachable: true,
      apEnabled: false,
      lastSsid: "HomeNetwork",
      activeConnection: "HomeNetwork",
      hotspotSsid: "jarvis-5b91b661",
      ipv4Address: "192.168.1.7",
      ...network,
    },
    runtime: { health: "ok" },
    recovery: { enabled: true, activeLock: "none", ...recovery },
    restartPending: false,
    services: { networkManagerAvailable: true },
  };
}

/** Answers a request of the page in the node's place. */
async function answer(page: Page, path: string, body: object | ((route: Route) => Promise<void>), code = 200): Promise<void> {
  const fixed = (route: Route) => route.fulfill({ status: code, json: body });
  await page.route(`${API}/${path}`, typeof body === "function" ? (body as (route: Route) => Promise<void>) : fixed);
}

async function open(page: Page, url: string): Promise<void> {
  await page.goto(`${url}/care`);
  await page.waitForSelector("#live:has-text('Live'), #live:has-text('مباشر')");
}

/** Sets a device up with the setup page, and follows its link to the page of network care. */
async function settle(page: Page, node: Node, network: string): Promise<void> {
  await page.goto(link(node, await center.order(), node.code));
  await page.waitForSelector("#list button");
  await connect(page, network, PASSWORD);
  await page.click("#care");
  await page.waitForSelector(`#health-text:has-text("Online in ${network}.")`);
}

test("the texts of the page of network care exist in every language, and are used", () => {
  const used = [...HTML.matchAll(/data-t="([^"]+)"/g), ...SCRIPTS.matchAll(/"([a-z.]+)"/g)].map(([, key]) => key);
  for (const [key, translations] of Object.entries(texts)) {
    assert.equal(translations.length, LANGUAGES.length, key);
    const places = translations.map((translation) => (translation.match(/\{\d\}/g) ?? []).sort().join());
    assert.equal(new Set(places).size, 1, key);
    assert.ok(used.includes(key) || BUILT.test(key), `${key} is used`);
  }
  for (const [, key] of HTML.matchAll(/data-t="([^"]+)"/g)) {
    assert.ok(key !== undefined && key in texts, `${key} is in the catalogue`);
  }
});

test("what the node advises is said in the page's language, and in its own words if they are new", () => {
  for (const [english, translations] of Object.entries(advice)) {
    assert.equal(translations.length, LANGUAGES.length - 1, english);
    assert.equal(new Set([english, ...translations]).size, LANGUAGES.length, english);
  }
  assert.deepEqual(advised("Restart the router."), ["Restart the router.", "en"]);
  assert.deepEqual(advised("constructor"), ["constructor", "en"]);
});

test("events are read from any division of their stream", async () => {
  const event = { id: "1", level: "info", message: "café\n", timestamp: 1 };
  const frames = `event: connected\ndata: {"ok":true}\n\n: heartbeat\n\nid: 1\nevent: device\ndata: ${JSON.stringify(event)}\n\nevent: device\ndata: {\n\n`;
  const bytes = new TextEncoder().encode(frames);
  for (const size of [1, 7, bytes.length]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.slice(index * size, (index + 1) * size),
    );
    const body = new ReadableStream({
      start(controller) {
        parts.forEach((part) => controller.enqueue(part));
        controller.close();
      },
    });
    const found = [];
    for await (const one of events(new Response(body))) {
      found.push(one);
    }
    assert.deepEqual(found, [event]);
  }
});

test("a device that was set up leads to its care, which shows how it is", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await settle(page, node, "Lighthouse");
      await page.waitForSelector("#health-title:has-text('Everything works')");
      await page.click("#check");
      await page.waitForSelector("#layers .ok:has-text('Wi-Fi adapter')");
      await page.waitForSelector("#events li:has-text('Device manager started')");
      await page.click("#label");
      await page.waitForSelector(`#label-code:has-text("${node.code.slice(0, 3)} ${node.code.slice(3)}")`);
      const modules = await page.evaluate(async () => {
        const { modules } = (await (await fetch("/api/provisioning/label")).json()) as { modules: string[] };
        return modules.flatMap((row, y) => [...row].flatMap((module, x) => (module === "1" ? [`${x + 4} ${y + 4}`] : [])));
      });
      const drawn = ((await page.getAttribute("#qr path", "d")) ?? "").split("M").slice(1);
      assert.deepEqual(
        drawn.map((square) => square.replace("h1v1h-1z", "")),
        modules,
      );
      assert.ok(modules.length > 300, "a QR code");
      await page.click("#label");
      assert.equal(await page.textContent("#label-code"), "");
    },
    CARE,
  ),
);

test("the network is changed; one that fails leads back, and both are said", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await settle(page, node, "HomeNetwork");
      const change = async (password: string) => {
        await page.click("#change");
        await page.click('#list button:has-text("Lighthouse")');
        await page.fill("#passphrase", password);
        await page.click("#join .main");
      };
      await change("not the password");
      await page.waitForSelector("#notice.bad:has-text('Lighthouse did not work: The Wi-Fi password is wrong.')");
      await page.waitForSelector("#notice:has-text('The device has returned to HomeNetwork.')");
      await change(PASSWORD);
      await page.waitForSelector("#notice:has-text('The device is in Lighthouse.')");
      await page.waitForSelector("#health-text:has-text('Online in Lighthouse.')");
      await page.click("#saved li:has-text('HomeNetwork') button");
      await page.click("#saved .ask button >> nth=0");
      await page.waitForSelector("#notice:has-text('HomeNetwork is forgotten.')");
      assert.equal(await page.inputValue("#passphrase"), "");
    },
    CARE,
  ),
);

test("mistakes in the network to join are named before anything is sent, and what was typed is kept", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await open(page, node.url);
      const sent: string[] = [];
      page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
      await page.click("#change");
      assert.ok(await page.isDisabled('#list button:has-text("Office")'), "a login is the setup page's");
      await page.click('#list button:has-text("Lighthouse")');
      await page.fill("#passphrase", "short");
      await page.click("#join .main");
      await page.waitForSelector("#passphrase-error:has-text('a password of 8 to 63 characters')");
      assert.deepEqual([await focused(page), await page.inputValue("#passphrase")], ["passphrase", "short"]);
      await page.click("#no-join");
      await page.click("#change");
      await page.click("#other");
      assert.equal(await page.isVisible("#passphrase-error"), false);
      await page.fill("#ssid", "ä".repeat(17));
      await page.fill("#passphrase", "x".repeat(129));
      await page.click("#join .main");
      assert.deepEqual(await page.$$eval("[aria-invalid=true]", (fields) => fields.map(({ id }) => id)), ["ssid", "passphrase"]);
      assert.equal(await focused(page), "ssid");
      assert.deepEqual(sent, []);
    },
    CARE,
  ),
);

test("a recovery is in the events and in the history without a reload", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await settle(page, node, "HomeNetwork");
      await page.waitForSelector("#history-none:has-text('no recovery lately')");
      await page.click("#recover");
      for (const list of ["#history", "#events"]) {
        await page.waitForSelector(`${list} li.mood-success:has-text("Network recovery: back in HomeNetwork")`);
      }
      await page.waitForSelector("#recovery-state:has-text('a short time ago')");
      const times = await page.$$eval("#history time", (all) => all.map((time) => Date.parse(time.getAttribute("datetime") ?? "")));
      assert.ok(times.length >= 2 && times.every((time) => Math.abs(Date.now() - time) < 60_000), times.join());
    },
    CARE,
  ),
);

test("a layer that has failed says what to do, in the page's language", { skip }, () =>
  scene(
    { ...LIGHT, locale: "de-DE" },
    async (page, node) => {
      const [[english, [german]]] = Object.entries(advice) as [[string, [string]]];
      const layers = [
        { layer: "radio", verdict: "ok", evidence: "wlan0", advice: null },
        { layer: "dns", verdict: "failed", evidence: "no answer from 192.168.1.1", advice: english },
        { layer: "internet", verdict: "not_reached", evidence: "dns is needed", advice: null },
      ];
      await answer(page, "network/diagnostics", { diagnostics: { layers } });
      await page.goto(`${node.url}/care`);
      await page.click("#check");
      await page.waitForSelector("#layers .failed .advice");
      assert.equal(await page.textContent("#layers .failed .advice"), german);
      assert.equal(await page.textContent("#layers .failed .hint"), "no answer from 192.168.1.1");
      assert.deepEqual([await page.locator("#layers .ok").count(), await page.locator("#layers .not_reached").count()], [1, 1]);
    },
    CARE,
  ),
);

test("the outcome of a change is found after the answer is lost", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await answer(page, "status", { status: status() });
      await answer(page, "networks", { networks: [{ ssid: "Attic", signal: 70, security: "WPA2", inUse: false }] });
      await open(page, node.url);
      await page.click("#change");
      await page.click("#list button");
      await page.fill("#passphrase", PASSWORD);
      let isAway = true;
      const after = { status: status({ lastError: "The Wi-Fi password is wrong." }) };
      await answer(page, "network/connect", (route) => route.abort("addressunreachable"));
      await answer(page, "status", (route) => (isAway ? route.abort("addressunreachable") : route.fulfill({ json: after })));
      await page.click("#join .main");
      await page.waitForSelector("#trying:has-text('The device tries Attic.')");
      await page.waitForSelector("#lost:has-text('No connection to the device.')");
      isAway = false;
      await page.waitForSelector(
        "#notice:has-text('Attic did not work: The Wi-Fi password is wrong. The device has returned to HomeNetwork.')",
      );
      await page.waitForSelector("#lost", { state: "hidden" });
    },
    CARE,
  ),
);

test("hotspot and reset ask before they act, and do nothing on cancel", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await settle(page, node, "HomeNetwork");
      const sent: string[] = [];
      page.on("request", (request) => request.method() === "POST" && sent.push(new URL(request.url()).pathname));
      for (const id of ["hotspot", "reset"]) {
        await page.click(`#${id}`);
        await page.click(`#${id} + .ask button:has-text("Cancel")`);
        assert.equal(await focused(page), id);
      }
      assert.deepEqual(sent, []);
      await page.click("#hotspot");
      await page.click("#hotspot + .ask button >> nth=0");
      await page.waitForSelector("#hotspot-state:has-text('is open. The password is on the label.')");
      await page.click("#reset");
      await page.click("#reset + .ask button >> nth=0");
      await page.waitForSelector("#notice:has-text('The device is reset.')");
      assert.deepEqual(sent, ["/api/provisioning/hotspot/enable", "/api/provisioning/factory-reset"]);
    },
    CARE,
  ),
);

test("the list changes around a question, which keeps the focus", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      const names = () => page.$$eval("#saved .name bdi", (all) => all.map(({ textContent }) => textContent));
      const saved = (...networks: string[]) =>
        answer(page, "networks/saved", { networks: networks.map((name) => ({ name, active: false })) });
      await saved("Attic", "Barn", "Cellar");
      await settle(page, node, "HomeNetwork");
      await page.click("#saved li:has-text('Barn') button");
      await saved("Barn", "Dairy");
      // Any other client: its failure is an event.
      await page.evaluate(() =>
        fetch("/api/provisioning/network/forget", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ name: "Nowhere" }),
        }),
      );
      await page.waitForSelector("#saved li:has-text('Dairy')");
      assert.deepEqual(await names(), ["Barn", "Dairy"]);
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Cancel");
      await page.keyboard.press("Enter");
      assert.equal(await page.locator("#saved .ask").count(), 0);
      assert.match((await page.evaluate(() => document.activeElement?.textContent)) ?? "", /^Forget Barn/);
    },
    CARE,
  ),
);

test("a token is asked for, taken from the address, and kept nowhere", { skip }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "jarvis-web-"));
  try {
    writeFileSync(join(folder, "token"), "4cb1-a-token\n", { mode: 0o600 });
    await scene(
      LIGHT,
      async (page, node) => {
        await page.goto(`${node.url}/care`);
        await page.waitForSelector("#login:not([hidden])");
        assert.equal(await page.isVisible("#care"), false);
        for (const wrong of ["wrong", "日本"]) {
          await page.fill("#token", wrong);
          await page.keyboard.press("Enter");
          await page.waitForSelector("#token-error:has-text('The token is wrong.')");
        }
        await page.fill("#token", "4cb1-a-token");
        await page.keyboard.press("Enter");
        await page.waitForSelector("#live:has-text('Live')");
        assert.equal(await page.inputValue("#token"), "");
        await page.reload();
        await page.waitForSelector("#login:not([hidden])");
        await page.goto(`${node.url}/care#token=4cb1-a-token`);
        await page.waitForSelector("#live:has-text('Live')");
        assert.equal(page.url(), `${node.url}/care`);
        assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
      },
      `${CARE}token_file = "${join(folder, "token")}"\n`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("hostile names and long lists are shown as text, and within limits", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      const hostile = ["<img src=x onerror=alert(1)>", "\u202eevil", "x".repeat(32)];
      const many = Array.from({ length: 9_997 }, (_, index) => `network ${index}`);
      const seen = [...hostile, ...many].map((ssid, index) => ({
        ssid,
        signal: Math.max(1, 100 - index),
        security: "WPA2",
        inUse: false,
      }));
      await answer(page, "status", {
        status: status({ activeConnection: hostile[0], lastError: hostile[1], internetReachable: false }),
      });
      await answer(page, "networks", { networks: seen });
      await answer(page, "networks/saved", {
        networks: [...hostile, ...many.slice(0, 100)].map((name) => ({ name, active: false })),
      });
      const frame = (index: number) => {
        const event = { id: String(index), level: "<b>", message: hostile[0], timestamp: 1e300, action: "recovery.failed" };
        return `id: ${index}\nevent: device\ndata: ${JSON.stringify(event)}\n\n`;
      };
      await answer(page, "events", (route) =>
        route.fulfill({
          contentType: "text/event-stream",
          body: Array.from({ length: 1000 }, (_, index) => frame(index)).join(""),
        }),
      );
      await answer(page, "network/diagnostics", {
        diagnostics: { layers: [{ layer: "<i>", verdict: "<u>", evidence: hostile[1], advice: hostile[0] }] },
      });
      await page.goto(`${node.url}/care`);
      await page.waitForSelector("#events li");
      await page.click("#change");
      await page.click("#check");
      await page.waitForSelector("#layers .advice");
      const names = await page.$$eval("#list bdi", (elements) => elements.map(({ textContent }) => textContent));
      assert.deepEqual([names.length, names.slice(0, 2)], [60, [hostile[0], "\\u{202e}evil"]]);
      assert.equal(await page.textContent("#more"), "9940 more are not shown.");
      assert.equal(await page.locator("#saved li").count(), 103);
      assert.deepEqual([await page.locator("#events li").count(), await page.locator("#history li").count()], [50, 50]);
      assert.equal(await page.locator("img, i, u").count(), 0);
      assert.match((await page.textContent("#health-text")) ?? "", /<img src=x onerror=alert\(1\)>/);
      await page.click("#saved li:nth-child(2) button");
      assert.match((await page.textContent("#saved .ask p")) ?? "", /^Forget \\u\{202e\}evil\?/);
      await page.click("#saved .ask button:has-text('Cancel')");
      await page.click("#list li:nth-child(2) button");
      assert.equal(await page.textContent("#join-title"), "Join \\u{202e}evil");
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "too wide");
      await check(page, "hostile");
    },
    CARE,
  ),
);

test("a lost connection is shown, what is known stays, and the page recovers", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await page.clock.install();
      await open(page, node.url);
      await page.route(`${node.url}/api/**`, (route) => route.abort("addressunreachable"));
      await page.clock.fastForward(11_000);
      await page.waitForSelector("#lost:has-text('No connection to the device.')");
      assert.ok(await page.isVisible("#saved li:has-text('HomeNetwork')"));
      await page.click("#check");
      await page.waitForSelector("#notice:has-text('That did not work: the device does not answer.')");
      await page.unroute(`${node.url}/api/**`);
      await page.clock.fastForward(11_000);
      await page.waitForSelector("#lost", { state: "hidden" });
    },
    CARE,
  ),
);

for (const [colorScheme, locale, direction] of LOOKS) {
  test(`every state of care is accessible and fits 320 pixels: ${colorScheme}, ${locale}`, { skip }, () =>
    scene(
      { viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" },
      async (page, node) => {
        await open(page, node.url);
        assert.equal(await page.getAttribute("html", "dir"), direction);
        await check(page, "care");
        await page.click("#check");
        await page.waitForSelector("#layers li");
        await page.click("#label");
        await page.waitForSelector("#label-box:not([hidden])");
        for (const id of ["hotspot", "reset"]) {
          await page.click(`#${id}`);
        }
        await page.click("#saved button");
        await page.click("#change");
        await page.waitForSelector("#list button");
        await check(page, "everything open");
        await page.click("#other");
        await page.click("#join .main");
        await page.waitForSelector("#ssid-error:not([hidden])");
        await check(page, "form with an error");
        const looks = [
          status({ internetReachable: false, lastError: "no answer" }),
          status({ connected: false, apEnabled: true }, { activeLock: "cooldown" }),
          status({ connected: false }, { activeLock: "recovery" }),
        ];
        // Colors do not depend on the direction.
        for (const [index, health] of (direction === "ltr" ? ["warning", "error", "ok"] : []).entries()) {
          await page.unroute(`${API}/status`);
          await answer(page, "status", { status: { ...looks[index], runtime: { health } } });
          await page.reload();
          await page.waitForSelector(`#health[data-health="${health}"]`);
          await check(page, `health ${health}`);
        }
        await answer(page, "status", {}, 401);
        await page.reload();
        await page.waitForSelector("#login:not([hidden])");
        await check(page, "token");
      },
      CARE,
    ),
  );
}

test("the page of network care works with the keyboard", { skip }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      await settle(page, node, "HomeNetwork");
      await tabTo(page, "#change");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#list button");
      await tabTo(page, "#other");
      await page.keyboard.press("Enter");
      assert.equal(await focused(page), "ssid");
      await page.keyboard.type("Lighthouse");
      await tabTo(page, "#passphrase");
      await page.keyboard.type(PASSWORD);
      await page.keyboard.press("Enter");
      await page.waitForSelector("#notice:has-text('The device is in Lighthouse.')");
      await tabTo(page, "#reset");
      await page.keyboard.press("Enter");
      await page.waitForSelector("#reset + .ask");
      assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Cancel");
    },
    CARE,
  ),
);
