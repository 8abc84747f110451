/** The site in a real browser, over an emulated Bluetooth adapter, at a simulated node. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { BrowserContextOptions, Page } from "playwright-core";

import { ENDPOINTS } from "../../client/src/index.js";
import { prompted } from "./emulated.js";
import { LIGHT, PASSWORD, Stage, checkView, countEffort, missing } from "./support.js";
import type { Scene } from "./support.js";

const skip = missing();
let stage: Stage;
before(async () => {
  if (skip === false) {
    stage = await Stage.start();
  }
});
after(() => stage?.stop());

function scene(options: BrowserContextOptions, act: (scene: Scene) => Promise<void>): Promise<void> {
  return stage.scene(options, act);
}

/** Clicks what asks for a device, and takes the one in the browser's list. */
async function chooseBy(page: Page, selector: string): Promise<void> {
  assert.equal(await prompted(page, () => page.click(selector)), 1);
}

async function connect(page: Page, password: string): Promise<void> {
  await page.click('#list button:has-text("Lighthouse")');
  await page.fill("#passphrase", password);
  await page.click("#details .main");
}

test("a wrong code and a wrong password are named, and the right ones succeed", { skip }, () =>
  scene(LIGHT, async ({ page, node, peripheral }) => {
    await page.goto(stage.link(await stage.center.order()));
    await page.fill("#digits", node.code === "000000" ? "000001" : "000000");
    await chooseBy(page, "#code .main");
    await page.waitForSelector("#digits-error:has-text('The pairing code is wrong')");
    assert.deepEqual([await page.textContent("#device"), await page.textContent("#device-name")], [node.name, node.name]);
    await page.fill("#digits", node.code);
    await page.click("#code .main");
    await page.waitForSelector("#list button");
    await connect(page, "not the password");
    await page.waitForSelector("#passphrase-error:has-text('The Wi-Fi password is wrong.')");
    await page.fill("#passphrase", PASSWORD);
    await page.click("#details .main");
    await page.waitForSelector("#done:has-text('It is online in Lighthouse.')");
    assert.equal(await page.inputValue("#passphrase"), "", "the password is erased");
    const lengths = peripheral.written.map(({ length }) => length);
    assert.ok((lengths[0] ?? 0) <= 20, "the smallest MTU carries the first value");
    assert.ok(Math.max(...lengths) > 20 && Math.max(...lengths) <= 495, "a notification told the MTU");
  }),
);

/** Does what an owner does once the code is known. */
async function chooseNetwork(page: Page): Promise<void> {
  await page.click('#list button:has-text("Lighthouse")');
  // The field has the focus.
  await page.keyboard.type(PASSWORD);
  await page.click("#details .main");
  await page.waitForSelector("#done:has-text('Lighthouse')");
}

test("a link with the label's QR code needs three taps and the password", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    const effort = await countEffort(page);
    await page.goto(stage.link(await stage.center.order(), node.qr));
    await page.waitForSelector(`#label:has-text("${node.name}")`);
    assert.equal(page.url(), stage.server.url, "the code is erased from the address");
    assert.equal(await page.isVisible("#digits"), false);
    await chooseBy(page, "#code .main");
    await chooseNetwork(page);
    assert.deepEqual(await effort(), { taps: 3, typed: PASSWORD.length });
  }),
);

test("without the QR code the site needs four taps, the digits and the password", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    const effort = await countEffort(page);
    await page.goto(stage.link(await stage.center.order()));
    await page.click("#digits");
    await page.keyboard.type(node.code);
    await chooseBy(page, "#code .main");
    await chooseNetwork(page);
    assert.deepEqual(await effort(), { taps: 4, typed: 6 + PASSWORD.length });
  }),
);

test("the node's own page needs two taps and the password after a link with the code", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    const effort = await countEffort(page);
    await page.goto(stage.link(await stage.center.order(), node.code).replace(stage.server.url, `${node.url}/`));
    await chooseNetwork(page);
    assert.deepEqual(await effort(), { taps: 2, typed: PASSWORD.length });
  }),
);

test("without the code the node's own page needs four taps, the digits and the password", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    const effort = await countEffort(page);
    await page.goto(stage.link(await stage.center.order()).replace(stage.server.url, `${node.url}/`));
    await page.click("#digits");
    await page.keyboard.type(node.code);
    await page.click("#code .main");
    await chooseNetwork(page);
    assert.deepEqual(await effort(), { taps: 4, typed: 6 + PASSWORD.length });
  }),
);

test("an enterprise network takes a login", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    await page.goto(stage.link(await stage.center.order()));
    await page.fill("#digits", node.code);
    await chooseBy(page, "#code .main");
    await page.click('#list button:has-text("Office")');
    await page.fill("#identity", "anna@office.example");
    await page.fill("#password", PASSWORD);
    await page.fill("#domain", "radius.office.example");
    await page.click("#details .main");
    await page.waitForSelector("#done:has-text('It is online in Office.')");
  }),
);

test("a device that the system knows by another name is listed at the second try", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    await page.goto(stage.link(await stage.center.order(), node.qr.replace(node.name, "jarvis-00000009")));
    await prompted(page, () => page.click("#code .main"), false);
    await page.waitForSelector("#notice:has-text('No device was chosen.')");
    await chooseBy(page, "#code .main");
    // The secret is that of this node, under a name that the system does not know.
    await page.waitForSelector("#list button");
  }),
);

test("the camera reads the label, and names another QR code", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    await page.addInitScript((label) => {
      const codes = ["WIFI:T:WPA;S:jarvis-00000001;P:12345678;;", label];
      class BarcodeDetector {
        static getSupportedFormats = () => Promise.resolve(["qr_code"]);
        detect = () => Promise.resolve([{ rawValue: (globalThis as { isSecond?: boolean }).isSecond ? codes[1] : codes[0] }]);
      }
      Object.assign(globalThis, { BarcodeDetector });
    }, node.qr);
    await page.goto(stage.link(await stage.center.order()));
    await page.click("#label-scan");
    await page.waitForSelector("#label-camera-text:has-text('This is another QR code')");
    await checkView(page, "camera");
    await page.evaluate("isSecond = true");
    await page.waitForSelector(`#label:has-text("${node.name}")`);
    await page.waitForSelector("#label-camera", { state: "hidden" });
    assert.equal(await page.evaluate('document.querySelector("video").srcObject'), null, "the camera is off");
    await chooseBy(page, "#code .main");
    await page.waitForSelector("#list button");
  }),
);

test("a link that is lost during the attempt is opened again, and the outcome is shown", { skip }, () =>
  scene(LIGHT, async ({ page, node, peripheral }) => {
    await page.goto(stage.link(await stage.center.order(), node.code));
    await chooseBy(page, "#code .main");
    await page.waitForSelector("#list button");
    peripheral.onWritten = async (uuid) => {
      if (uuid === ENDPOINTS.credentials.uuid) {
        peripheral.isAway = true;
        await peripheral.disconnect();
      }
    };
    await connect(page, PASSWORD);
    await page.waitForSelector("#away:has-text('The Bluetooth connection was lost.')");
    await checkView(page, "away");
    peripheral.onWritten = () => Promise.resolve();
    peripheral.isAway = false;
    await page.waitForSelector("#done:has-text('It is online in Lighthouse.')");
  }),
);

test("without a choice the page says what to check, and asks again", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    await page.goto(stage.link(await stage.center.order(), node.code));
    await prompted(page, () => page.click("#code .main"), false);
    await page.waitForSelector("#notice:has-text('No device was chosen.')");
    await checkView(page, "no device");
    await chooseBy(page, "#code .main");
    await page.waitForSelector("#list button");
  }),
);

test("without Web Bluetooth the page says what else works", { skip }, async () => {
  await scene(LIGHT, async ({ page }) => {
    await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "bluetooth", { get: () => undefined }));
    await page.goto(stage.server.url);
    await page.waitForSelector("#unsupported:has-text('Chrome or Edge')");
    assert.equal(await page.isVisible("#code"), false);
    await checkView(page, "unsupported");
    await page.selectOption("#language", "de");
    await page.waitForSelector("#unsupported:has-text('Verbinden Sie sich mit dem WLAN')");
  });
});

test("the page connects to nothing and runs its own script only", { skip }, () =>
  scene(LIGHT, async ({ context, page }) => {
    await page.goto(stage.server.url);
    await page.waitForSelector("#code");
    const other = await context.newPage();
    await other.goto(stage.server.url);
    const refused = await other.evaluate(async (url) => {
      const blocked: string[] = [];
      addEventListener("securitypolicyviolation", ({ effectiveDirective }) => blocked.push(effectiveDirective));
      await fetch(url).catch(() => undefined);
      const script = document.createElement("script");
      script.textContent = "globalThis.hasRun = true";
      document.body.append(script);
      await new Promise((resolve) => setTimeout(resolve));
      return [blocked.sort(), "hasRun" in globalThis];
    }, stage.server.url);
    assert.deepEqual(refused, [["connect-src", "script-src-elem"], false]);
    await other.close();
  }),
);

test("the whole setup works with the keyboard", { skip }, () =>
  scene(LIGHT, async ({ page, node }) => {
    await page.goto(stage.link(await stage.center.order()));
    const tabTo = async (selector: string) => {
      for (let step = 0; step < 40; step += 1) {
        if (await page.evaluate((wanted) => document.activeElement?.matches(wanted) === true, selector)) {
          return;
        }
        await page.keyboard.press("Tab");
      }
      assert.fail(`the key Tab does not reach ${selector}`);
    };
    await tabTo("#digits");
    await page.keyboard.type(node.code);
    await prompted(page, () => page.keyboard.press("Enter"));
    await page.waitForSelector("#list button");
    await tabTo('#list button[data-network^="76,105,103,104,116"]');
    await page.keyboard.press("Enter");
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#done:has-text('Lighthouse')");
  }),
);

for (const [colorScheme, locale, direction] of [
  ["light", "en-US", "ltr"],
  ["dark", "de-DE", "ltr"],
  ["light", "ar-EG", "rtl"],
] as const) {
  test(`every view is accessible and fits 320 pixels: ${colorScheme}, ${locale}`, { skip }, () =>
    scene({ viewport: { width: 320, height: 640 }, colorScheme, locale, reducedMotion: "reduce" }, async ({ page, node }) => {
      const order = await stage.center.order();
      await page.goto(stage.link({ ...order, commandCenterUrl: "http://127.0.0.1:9" }));
      assert.equal(await page.getAttribute("html", "dir"), direction);
      await checkView(page, "code");
      await page.evaluate((code) => (location.hash = `code=${code}`), node.qr);
      await page.waitForSelector("#label:not([hidden])");
      await checkView(page, "label");
      await chooseBy(page, "#code .main");
      await page.waitForSelector("#list button");
      await connect(page, PASSWORD);
      await page.waitForSelector("#steps .now");
      await checkView(page, "progress");
      await page.click("#cancel");
      await page.waitForSelector("#notice:not([hidden])");
      await checkView(page, "cancelled");
      await page.evaluate(() => document.querySelectorAll("[hidden]").forEach((element) => element.removeAttribute("hidden")));
      await checkView(page, "everything at once");
    }),
  );
}
