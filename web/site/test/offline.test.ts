/** The copy of the site that needs no network: its installation, and its updates. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import type { Page } from "playwright-core";

import texts from "../texts.json" with { type: "json" };
import { LIGHT, Stage, checkView, missing } from "./support.js";

const skip = missing();
let stage: Stage;
before(async () => {
  if (skip === false) {
    stage = await Stage.start();
  }
});
after(() => stage?.stop());

/** Loads the site, until its copy is complete. */
async function install(page: Page): Promise<void> {
  await page.goto(stage.server.url);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
}

/** Publishes a version with another style sheet; a wrong one differs from what the version says. */
function publish(isWhole: boolean): void {
  const read = (name: string) => readFileSync(`dist/site/${name}`, "utf8");
  const style = `${read("site.css")}\n#code{color:rgb(1,2,3)}`;
  const hash = (text: string) => createHash("sha256").update(text).digest("base64");
  const worker = read("sw.js").replace(hash(read("site.css")), hash(isWhole ? style : `${style} `));
  stage.server.changed.set("site.css", style);
  stage.server.changed.set("sw.js", worker.replace(/"[0-9a-f]{16}"/, isWhole ? '"0000000000000001"' : '"0000000000000002"'));
}

test("the site is loaded again without a network", { skip }, () =>
  stage.scene(LIGHT, async ({ page }) => {
    await install(page);
    stage.server.isOnline = false;
    try {
      await page.goto(`${stage.server.url}#code=042137`);
      await page.waitForSelector("#code:not([hidden])");
      assert.equal(await page.inputValue("#digits"), "042137");
      assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("main") as Element).borderRadius), "16px");
    } finally {
      stage.server.isOnline = true;
    }
  }),
);

test("a newer version is offered, and loaded by a click; an incomplete one is not", { skip }, () =>
  stage.scene(LIGHT, async ({ page }) => {
    const color = () => page.evaluate(() => getComputedStyle(document.querySelector("#code") as Element).color);
    await install(page);
    await page.reload();
    const old = await color();
    try {
      publish(false);
      const state = await page.evaluate(async () => {
        const registration = await navigator.serviceWorker.ready;
        const found = new Promise<ServiceWorker>((resolve) =>
          registration.addEventListener("updatefound", () => resolve(registration.installing as ServiceWorker), { once: true }),
        );
        await registration.update().catch(() => undefined);
        const worker = await found;
        while (worker.state === "installing") {
          await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
        }
        return worker.state;
      });
      assert.equal(state, "redundant");
      assert.equal(await page.isVisible("#update"), false);
      publish(true);
      await page.reload();
      await page.waitForSelector("#update:not([hidden])");
      assert.equal(await color(), old, "the version of the page stays until the click");
      await checkView(page, "update");
      await Promise.all([page.waitForEvent("load"), page.click("#update-load")]);
      assert.equal(await color(), "rgb(1, 2, 3)");
      assert.deepEqual((await page.evaluate(() => caches.keys())).length, 1, "the old copy is removed");
    } finally {
      stage.server.changed.clear();
    }
  }),
);

test("a newer version is used without a click once every tab of the site is closed", { skip }, () =>
  stage.scene(LIGHT, async ({ context, page }) => {
    const color = (tab: Page) => tab.evaluate(() => getComputedStyle(document.querySelector("#code") as Element).color);
    await install(page);
    await page.reload();
    const old = await color(page);
    try {
      publish(true);
      await page.reload();
      await page.waitForSelector("#update:not([hidden])");
      const second = await context.newPage();
      await second.goto(stage.server.url);
      assert.equal(await color(second), old, "versions are not mixed while a tab has the old one");
      await second.close();
      await page.goto("about:blank");
      // The browser changes to it when it notices that no tab is left.
      for (;;) {
        await page.goto(stage.server.url);
        if ((await color(page)) !== old) {
          break;
        }
        await page.goto("about:blank");
      }
      assert.equal(await color(page), "rgb(1, 2, 3)");
      stage.server.isOnline = false;
      await page.reload();
      assert.equal(await color(page), "rgb(1, 2, 3)", "the new copy needs no network");
    } finally {
      stage.server.isOnline = true;
      stage.server.changed.clear();
    }
  }),
);

test("the site can be installed", { skip }, () =>
  stage.scene(LIGHT, async ({ context, page }) => {
    await install(page);
    const session = await context.newCDPSession(page);
    const { errors, data } = await session.send("Page.getAppManifest");
    assert.deepEqual([errors, JSON.parse(data ?? "{}").display], [[], "standalone"]);
    const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
    assert.deepEqual(
      // Playwright's contexts are off the record, where nothing is installed.
      installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"),
      [],
    );
  }),
);

test("every text of the site exists in every language, with the same places", () => {
  for (const [key, translations] of Object.entries(texts)) {
    assert.equal(new Set(translations).size, 3, key);
    const places = translations.map((translation) => (translation.match(/\{\d\}/g) ?? []).sort().join());
    assert.equal(new Set(places).size, 1, key);
  }
});

test("every text of the site is used, or replaces one of the page", () => {
  const read = (name: string) => readFileSync(name, "utf8");
  const sources = ["before-digits.html", "after-digits.html", "views.html", "main.ts"].map((name) => read(`site/${name}`)).join();
  const page = JSON.parse(read("page/texts.json")) as object;
  const unused = Object.keys(texts).filter((key) => !(key in page) && !sources.includes(`"${key}"`));
  assert.deepEqual(unused, []);
});

test("the icons have the sizes that the manifest says", () => {
  const { icons } = JSON.parse(readFileSync("site/site.webmanifest", "utf8")) as { icons: { src: string; sizes: string }[] };
  for (const { src, sizes } of icons.filter(({ src }) => src.endsWith(".png"))) {
    const header = readFileSync(`site/${src}`).subarray(16, 24);
    assert.equal(`${header.readUInt32BE(0)}x${header.readUInt32BE(4)}`, sizes, src);
  }
});
