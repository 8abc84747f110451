// Visits all pages in every look: axe must find nothing, and no page may be wider than its window.
//
//     node looks.mjs WEB ADDRESS PASSWORD PICTURES NAME PATH…
//
// WEB is the folder whose packages are used; pictures are named for NAME, which says how many devices there are.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [web, address, password, pictures, name, ...paths] = process.argv.slice(2);
const require = createRequire(join(web, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const LOOKS = [
  ["phone", "light", 360],
  ["phone", "dark", 360],
  ["tablet", "light", 768],
  ["wide", "dark", 1920],
];

// Chromium's sandbox needs rights that root in a container does not have.
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  for (const [device, colorScheme, width] of LOOKS) {
    const httpCredentials = { username: "operator", password };
    const context = await browser.newContext({ colorScheme, httpCredentials, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const complaints = [];
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    for (const [place, path] of paths.entries()) {
      const view = `${name} ${device} ${colorScheme} ${path}`;
      const answer = await page.goto(`${address}${path}`);
      assert.equal(answer.status(), 200, view);
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate("document.activeElement.className"), "skip", `${view}: the first stop`);
      await page.evaluate("document.activeElement.blur()");
      assert.ok(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), `${view} is too wide`);
      await page.screenshot({ path: join(pictures, `center-${name}-${device}-${colorScheme}-${place}.png`) });
      await page.evaluate(axe);
      const found = await page.evaluate(
        "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`))",
      );
      assert.deepEqual(found, [], view);
    }
    assert.deepEqual(complaints, []);
    await context.close();
  }
} finally {
  await browser.close();
}
