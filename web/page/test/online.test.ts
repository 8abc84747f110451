/** The setup page at a node that is online already, and where it leads in the end, in a real browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { State } from "../../client/src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import { ScriptedNode } from "../../client/test/support/node.js";
import { LIGHT, LOOKS, PASSWORD, center, check, connect, focused, link, pair, scene, skip } from "./browser.js";
import { answerBy } from "./support.js";

const NEXT = "https://home.example/devices";

/** A node that another app has given its network. */
function online(): ScriptedNode {
  const node = new ScriptedNode();
  node.status = { ...node.status, state: State.ONLINE };
  // Credentials without a network have no password.
  node.passphrase = "";
  return node;
}

for (const [colorScheme, locale] of LOOKS) {
  test(`a node that is online is enrolled over the connection that it has: ${colorScheme}, ${locale}`, { skip }, () =>
    scene({ viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" }, async (page, node) => {
      const scripted = online();
      scripted.nextUrl = NEXT;
      await answerBy(page, scripted);
      await page.goto(link(node, await center.order(), scripted.code));
      await page.waitForSelector("#online:not([hidden])");
      await check(page, "networks of a node that is online");
      await page.click("#keep");
      for (const id of ["with-password", "open-network", "hidden-network", "leaving", "order"]) {
        assert.equal(await page.isVisible(`#${id}`), false, id);
      }
      await check(page, "details of a node that is online");
      await page.click("#details .main");
      await page.waitForSelector(`#go:not([hidden]) #next:text-is("${NEXT}")`);
      await check(page, "done with a next page");
      const [sent] = scripted.stored.credentials;
      assert.deepEqual([sent?.ssid.length, sent?.passphrase, sent?.hidden], [0, "", false]);
    }),
  );
}

test("at a node that is online, a missing order is named, and another network can be chosen", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const scripted = online();
    await answerBy(page, scripted);
    await page.goto(node.url);
    await pair(page, scripted.code);
    await page.click("#keep");
    await page.click("#details .main");
    await page.waitForSelector("#commandCenterUrl-error:not([hidden])");
    assert.equal(await focused(page), "commandCenterUrl");
    assert.deepEqual(scripted.stored.credentials, []);
    await page.click("#choose");
    await page.click('#list button:has-text("HomeNetwork")');
    assert.ok(await page.isVisible("#passphrase"));
  }),
);

test("after an enrollment that failed, a reload offers the connection of the node again", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const scripted = online();
    scripted.isSlow = true;
    await answerBy(page, scripted);
    const start = async () => page.goto(link(node, await center.order(), scripted.code));
    await start();
    await page.click("#keep");
    await page.click("#details .main");
    await page.waitForSelector("#steps .now");
    scripted.finish("CommandCenterUnreachable");
    const reason = "The command center could not be reached.";
    await page.waitForSelector(`#commandCenterUrl-error:has-text("${reason}")`);
    await page.goto("about:blank");
    await start();
    await page.waitForSelector(`#notice.bad:has-text("${reason}")`);
    assert.ok((await page.textContent("#notice"))?.startsWith(reason), "no name of a network stands before it");
    scripted.isSlow = false;
    await page.click("#keep");
    await page.click("#details .main");
    await page.waitForSelector("#done:not([hidden])");
    assert.deepEqual(
      scripted.stored.credentials.map(({ ssid }) => ssid.length),
      [0, 0],
    );
  }),
);

test("a node that failed to join a network has no connection to keep", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    const scripted = new ScriptedNode();
    await answerBy(page, scripted);
    await page.goto(link(node, await center.order(), scripted.code));
    await page.waitForSelector("#list button");
    await connect(page, "Lighthouse", "not the password");
    await page.waitForSelector("#passphrase-error:not([hidden])");
    await page.reload();
    await pair(page, scripted.code);
    await page.waitForSelector("#notice:has-text('Lighthouse: The Wi-Fi password is wrong.')");
    assert.equal(await page.isVisible("#online"), false);
  }),
);

test("a node that is not online has no connection to keep", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    await page.goto(node.url);
    await pair(page, node.code);
    assert.equal(await page.isVisible("#online"), false);
  }),
);

test("the settings name where the owner continues, and without them it is the command center", { skip }, async () => {
  for (const settings of [`next_url = "${NEXT}"\n`, ""]) {
    await scene(
      LIGHT,
      async (page, node) => {
        const order = await center.order();
        await page.goto(link(node, order, node.code));
        await page.waitForSelector("#list button");
        await connect(page, "Lighthouse", PASSWORD);
        await page.waitForSelector("#go:not([hidden])");
        const expected = settings === "" ? order.commandCenterUrl : NEXT;
        assert.deepEqual([await page.textContent("#next"), await page.getAttribute("#next", "href")], [expected, expected]);
      },
      settings,
    );
  }
});

test("what a node that lies names as the next page is no link", { skip }, () =>
  scene(LIGHT, async (page, node) => {
    for (const lie of [
      "javascript:alert(1)",
      "data:text/html,x",
      "//home.example",
      "https://a@home.example/",
      "https://home.example/\u202e",
    ]) {
      const scripted = new ScriptedNode();
      scripted.nextUrl = lie;
      await page.unrouteAll();
      await answerBy(page, scripted);
      await page.goto("about:blank");
      await page.goto(link(node, await center.order(), scripted.code));
      await page.waitForSelector("#list button");
      await connect(page, "Lighthouse", PASSWORD);
      await page.waitForSelector("#done:not([hidden])");
      assert.equal(await page.isVisible("#go"), false, lie);
    }
  }),
);
