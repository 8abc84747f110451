/** The setup page in a real browser, served by a simulated node. */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Page } from "playwright-core";

import { ScriptedNode } from "../../client/test/support/node.js";
import type { Order } from "../../client/test/support/programs.js";
import { LIGHT, LOOKS, PASSWORD, center, check, connect, focused, link, pair, scene, skip, tabTo } from "./browser.js";
import { answerBy } from "./support.js";

test("a wrong code and a wrong password are named, and the right ones succeed", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order()));
    await page.waitForSelector(`#device:has-text("${node.name}")`);
    await page.fill("#digits", node.code === "000000" ? "000001" : "000000");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#digits-error:has-text('The pairing code is wrong')");
    assert.equal(await focused(page), "digits");
    await pair(page, node.code);
    await connect(page, "Lighthouse", "not the password");
    await page.waitForSelector("#passphrase-error:has-text('The Wi-Fi password is wrong.')");
    assert.deepEqual([await focused(page), await page.inputValue("#passphrase")], ["passphrase", "not the password"]);
    await page.fill("#passphrase", PASSWORD);
    await page.click("#details .main");
    await page.waitForSelector("#done:has-text('It is online in Lighthouse.')");
    assert.equal(await page.inputValue("#passphrase"), "", "the password is erased");
    await page.reload();
    await page.waitForSelector("#done");
    assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
  }),
);

test("a code in the link starts the setup, and is erased from the address", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const order = await center.order();
    await page.goto(link(node, order, node.code));
    await page.waitForSelector("#list button");
    assert.equal(page.url(), `${node.url}/`);
    assert.equal(await page.evaluate(() => history.length), 2, "the blank page and this one");
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector("#done:has-text('Lighthouse')");
  }),
);

test("the reason of a failure is shown after a reload", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order(), node.code));
    await page.waitForSelector("#list button");
    await connect(page, "Sim-NoAddress", PASSWORD);
    await page.waitForSelector("#notice:has-text('gave the device no address')");
    await page.reload();
    await page.waitForSelector("#notice:has-text('The last setup did not succeed: The network gave the device no address')");
    await pair(page, node.code);
    await page.waitForSelector("#notice:has-text('Sim-NoAddress: The network gave')");
  }),
);

test("the page waits while the access point is away, and shows the outcome", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order(), node.code));
    await page.waitForSelector("#list button");
    // From the answer to the credentials on nothing reaches the node, as when its access point closes.
    let isAway = false;
    await page.route(`${node.url}/api/**`, async (route) => {
      if (isAway) {
        await route.abort("addressunreachable");
        return;
      }
      const response = await route.fetch();
      isAway = route.request().url().endsWith("/api/v1/provision");
      // The answer may have the outcome already, because a simulated network is joined at once.
      await route.fulfill(isAway ? { response, body: Buffer.alloc(0) } : { response });
    });
    const home = `http://${node.name}.local:${new URL(node.url).port}/`;
    await page.route(home, (route) => route.fulfill({ status: 200, body: "" }));
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector(`#away:has-text("If ${node.name} appears again, join it")`);
    await page.waitForSelector("#away-home");
    assert.equal(await page.getAttribute("#home", "href"), home, "the link carries no code");
    isAway = false;
    await page.unroute(`${node.url}/api/**`);
    await page.waitForSelector("#done:has-text('It is online in Lighthouse.')");
  }),
);

test("every mistake is named before anything is sent", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(node.url);
    await page.fill("#digits", "12345");
    await page.click("#code .main");
    await page.waitForSelector("#digits-error:has-text('six digits')");
    await pair(page, node.code);
    await page.click("#other");
    const sent: string[] = [];
    page.on("request", (request) => sent.push(request.url()));
    await page.click("#details .main");
    const wrong = await page.$$eval("[aria-invalid]", (fields) => fields.map(({ id }) => id));
    assert.deepEqual(wrong, ["ssid", "passphrase", "commandCenterUrl", "nodeId", "provisioningToken"]);
    assert.equal(await focused(page), "ssid");
    assert.deepEqual(
      sent.filter((url) => url.endsWith("/provision")),
      [],
    );
  }),
);

test("a network that is not listed is joined by its name", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order(), node.code));
    await page.waitForSelector("#list button");
    await page.click("#other");
    await page.fill("#ssid", "Lighthouse");
    await page.fill("#passphrase", PASSWORD);
    await page.click("#with-password button");
    assert.equal(await page.getAttribute("#passphrase", "type"), "text");
    await page.click("#details .main");
    await page.waitForSelector("#done:has-text('Lighthouse')");
  }),
);

test("a setup is cancelled, and the form keeps its values", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    // Nothing answers there, so that the node tries to register until it is told to stop.
    await page.goto(link(node, { ...(await center.order()), commandCenterUrl: "http://127.0.0.1:9" }, node.code));
    await page.waitForSelector("#list button");
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector("#steps .now:has-text('Registers')");
    await page.click("#cancel");
    await page.waitForSelector("#notice:has-text('The setup was cancelled.')");
    assert.equal(await page.inputValue("#passphrase"), PASSWORD);
  }),
);

test("too many wrong codes show the time that is left", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(node.url);
    const wrong = node.code === "000000" ? "000001" : "000000";
    for (let guess = 0; guess < 5; guess += 1) {
      const answered = page.waitForResponse((response) => response.url().endsWith("/api/v1/session"));
      await page.fill("#digits", wrong);
      await page.click("#code .main");
      await answered;
      await page.waitForSelector("#digits-error:not([hidden])");
      await page.waitForSelector("#code .main:not([disabled])");
    }
    await page.fill("#digits", node.code);
    await page.click("#code .main");
    await page.waitForSelector("#notice:has-text('Time left: 0:')");
    await page.fill("#digits", node.qr);
    await page.click("#code .main");
    await page.waitForSelector("#list button");
  }),
);

test("hostile names are shown as text, and of ten thousand networks the strongest", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const hostile = new ScriptedNode();
    hostile.networks = [
      "<img src=x onerror=alert(1)>",
      "\u202eevil",
      ...Array.from({ length: 9_998 }, (_, index) => `network ${index}`),
    ];
    await answerBy(page, hostile);
    await page.goto(node.url);
    await pair(page, hostile.code);
    const names = await page.$$eval("#list bdi", (elements) => elements.map(({ textContent }) => textContent));
    assert.deepEqual(names.slice(0, 3), ["<img src=x onerror=alert(1)>", "\\u{202e}evil", "network 0"]);
    assert.equal(names.length, 60);
    assert.equal(await page.textContent("#more"), "9940 weaker networks are not shown.");
  }),
);

test("a listed network whose name is too long is refused with a sentence", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const liar = new ScriptedNode();
    liar.networks = ["x".repeat(33)];
    await answerBy(page, liar);
    await page.goto(link(node, await center.order()));
    await pair(page, liar.code);
    await connect(page, "xxx", PASSWORD);
    await page.waitForSelector("#notice.bad:has-text('1 to 32 bytes')");
  }),
);

test("a node that lies is answered with a sentence, and the page goes on", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const liar = new ScriptedNode();
    await answerBy(page, liar);
    await page.goto(node.url);
    await page.waitForSelector(`#device:has-text("${liar.nodeId}")`);
    liar.mangle = (layer, bytes) => (layer === "outbound" ? bytes.slice(0, -1) : bytes);
    await page.fill("#digits", liar.code);
    await page.click("#code .main");
    await page.waitForSelector("#notice:has-text('The message could not be read. Update the app.')");
    liar.mangle = (_layer, bytes) => bytes;
    await pair(page, liar.code);
  }),
);

test("a device without a country gets the owner's", { skip }, () =>
  scene({ ...LIGHT, locale: "de-AT" }, async (page, node) => {
    const abroad = new ScriptedNode();
    abroad.country = "00";
    await answerBy(page, abroad);
    await page.goto(link(node, await center.order()));
    await pair(page, abroad.code);
    assert.equal(await page.inputValue("#country"), "AT");
    assert.equal(await page.textContent("#country option:checked"), "Österreich");
    await check(page, "networks with a country");
    await page.selectOption("#country", "CH");
    await page.waitForSelector("#refresh:not([disabled])");
    await page.selectOption("#language", "en");
    assert.equal(await page.textContent("#country option:checked"), "Switzerland");
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector("#done:not([hidden])");
    assert.deepEqual([abroad.stored.countries, abroad.stored.credentials[0]?.country], [["AT", "CH"], "CH"]);
  }),
);

test("a device is asked for no country until a fault is about it", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const strict = new ScriptedNode();
    strict.isSlow = true;
    await answerBy(page, strict);
    await page.goto(link(node, await center.order()));
    await pair(page, strict.code);
    assert.equal(await page.isVisible("#country"), false);
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector("#steps .now");
    strict.finish("ChannelNotAllowed");
    await page.waitForSelector("#networks:not([hidden]) #country");
    assert.equal(await focused(page), "country");
    assert.match((await page.textContent("#notice")) ?? "", /channel/);
    assert.deepEqual([strict.stored.countries, strict.stored.credentials[0]?.country], [[""], ""]);
  }),
);

test("a fault that the page does not know is shown by its number, and the form keeps its values", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const newer = new ScriptedNode();
    newer.isSlow = true;
    await answerBy(page, newer);
    await page.goto(link(node, await center.order()));
    await pair(page, newer.code);
    await page.click('#list button:has-text("Lighthouse")');
    await page.fill("#passphrase", PASSWORD);
    await page.click("#details .main");
    await page.waitForSelector("#steps .now");
    newer.finish(4711);
    await page.waitForSelector('#notice:has-text("an error that this app does not know. (4711)")');
    assert.equal(await page.inputValue("#passphrase"), PASSWORD);
  }),
);

test("the whole setup works with the keyboard", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, await center.order()));
    await page.waitForSelector(`#device:has-text("${node.name}")`);
    await tabTo(page, "#digits");
    await page.keyboard.type(node.code);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#list button");
    await tabTo(page, '#list button[data-network^="76,105,103,104,116"]');
    await page.keyboard.press("Enter");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#done:has-text('Lighthouse')");
  }),
);

/** What a screen reader reads, in its order: roles and names, without options and labels, which are the names of fields. */
async function read(page: Page): Promise<string[]> {
  const lines = (await page.locator("main").ariaSnapshot()).split("\n").map((line) => line.trim().replace(/^- /, ""));
  return lines.filter((line) => !/^(main|text|option|list|listitem)\b.*/.test(line) || line.startsWith("listitem: "));
}

test("a screen reader reads each view in its order, with a name for everything", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(link(node, { ...(await center.order()), commandCenterUrl: "http://127.0.0.1:9" }));
    await page.waitForSelector(`#device:has-text("${node.name}")`);
    await page.click("#code .main");
    assert.deepEqual(await read(page), [
      'heading "Enter the pairing code" [level=1]',
      "paragraph: You find it on the label of your device.",
      'textbox "Pairing code" [invalid]',
      "paragraph: Six digits",
      "paragraph: The pairing code is the six digits on the label, or the text of its QR code.",
      'button "Continue"',
    ]);
    await pair(page, node.code);
    assert.deepEqual((await read(page)).slice(0, 4), [
      'heading "Choose your Wi-Fi" [level=1]',
      "paragraph: Your device will use this network.",
      'status: "Networks found: 17"',
      'button "HomeNetwork , with a password, signal 4 of 4"',
    ]);
    assert.deepEqual((await read(page)).slice(-2), ['button "Search again"', 'button "Other network"']);
    await page.click('#list button:has-text("Office")');
    await page.waitForSelector("#identity");
    assert.deepEqual(await read(page), [
      'heading "Connect to Wi-Fi" [level=1]',
      "paragraph: Office",
      'button "Change"',
      'combobox "Sign-in with":',
      'textbox "User name"',
      'textbox "Password"',
      'button "Show"',
      'textbox "Anonymous user name (optional)"',
      "paragraph: Sent unencrypted in place of the user name.",
      'combobox "Check that the network is genuine":',
      'textbox "Name of the server"',
      "paragraph: Such as radius.example.org. The administrator knows it.",
      `paragraph: While the device tries, its own network ${node.name} disappears for up to a minute. Keep this page open.`,
      'button "Connect"',
    ]);
    await page.click("#choose");
    await page.waitForSelector("#networks:not([hidden])");
    await connect(page, "Lighthouse", PASSWORD);
    await page.waitForSelector("#steps .now:has-text('Registers')");
    assert.deepEqual(await read(page), [
      'heading "Your device connects" [level=1]',
      'progressbar "Registers"',
      "status: Registers",
      "listitem: Device has the settings",
      "listitem: Joins the network",
      "listitem: Registers",
      "listitem: Ready",
      'button "Cancel"',
    ]);
    assert.equal(await page.textContent("[aria-current=step]"), "Registers");
    await page.click("#cancel");
    await page.waitForSelector("#notice:not([hidden])");
    assert.deepEqual((await read(page)).slice(0, 2), ["alert: The setup was cancelled.", 'heading "Connect to Wi-Fi" [level=1]']);
  }),
);

for (const [colorScheme, locale, direction] of LOOKS) {
  test(`every view is accessible and fits 320 pixels: ${colorScheme}, ${locale}`, { skip }, () =>
    scene({ viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" }, async (page, node) => {
      await page.goto(node.url);
      await page.waitForSelector(`#device:has-text("${node.name}")`);
      assert.equal(await page.getAttribute("html", "dir"), direction);
      await check(page, "code");
      await page.click("#code .main");
      await page.waitForSelector("#digits-error:not([hidden])");
      await check(page, "code with an error");
      await pair(page, node.code);
      await check(page, "networks");
      await page.click("#other");
      await page.click("#details .main");
      await check(page, "details with errors");
      await page.selectOption("#security", "ENTERPRISE");
      await page.waitForSelector("#identity");
      await check(page, "enterprise");
      await page.selectOption("#method", "TLS");
      await page.selectOption("#verification", "file");
      await page.click("#details .main");
      await page.waitForSelector("#authority-error, #certificate-error");
      await check(page, "enterprise with errors");
      await page.selectOption("#method", "PEAP_MSCHAPV2");
      await page.selectOption("#verification", "none");
      await check(page, "enterprise without verification");
      await page.selectOption("#security", "UNKNOWN");
      const order: Order = { ...(await center.order()), commandCenterUrl: "http://127.0.0.1:9" };
      for (const [id, value] of Object.entries(order)) {
        await page.fill(`#${id}`, value);
      }
      await page.fill("#ssid", "Lighthouse");
      await page.fill("#passphrase", PASSWORD);
      await page.click("#details .main");
      await page.waitForSelector("#steps .now");
      await check(page, "progress");
      await page.click("#cancel");
      await page.waitForSelector("#notice:not([hidden])");
      await page.fill("#commandCenterUrl", (await center.order()).commandCenterUrl);
      await page.click("#details .main");
      await page.waitForSelector("#done:not([hidden])");
      await check(page, "done");
    }),
  );
}

for (const [colorScheme, locale] of LOOKS) {
  test(`views in which something is wrong are accessible and fit 320 pixels: ${colorScheme}, ${locale}`, { skip }, () =>
    scene({ viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" }, async (page, node) => {
      const poor = new ScriptedNode();
      poor.nodeId = node.name;
      poor.networks = [];
      await answerBy(page, poor);
      await page.goto(link(node, await center.order()));
      await page.fill("#digits", "000000");
      await page.click("#code .main");
      await page.waitForSelector("#digits-error:not([hidden])");
      await check(page, "wrong code");
      poor.refusals = [{ fault: "Locked", retryAfterSeconds: 290 }];
      await page.fill("#digits", poor.code);
      await page.click("#code .main");
      await page.waitForSelector("#notice:has-text('4:')");
      await check(page, "locked");
      await page.click("#code .main");
      await page.waitForSelector("#networks:not([hidden]) #refresh:not([disabled])");
      await check(page, "no networks");
      poor.networks = ["Lighthouse"];
      await page.click("#refresh");
      await connect(page, "Lighthouse", "not the password");
      await page.waitForSelector("#passphrase-error:not([hidden])");
      await check(page, "wrong password");
      poor.isSlow = true;
      await page.click("#details .main");
      await page.waitForSelector("#steps .now");
      await page.route("**/api/v1/**", (route) => route.abort());
      await page.waitForSelector("#away:not([hidden])");
      await check(page, "away");
    }),
  );
}
