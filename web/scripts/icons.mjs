// Draws the site's icons from `site/icon.svg` with Debian's Chromium: `node scripts/icons.mjs`, after a change of that file.

import { readFileSync } from "node:fs";

import { chromium } from "playwright-core";

const SVG = readFileSync("site/icon.svg", "utf8");
const ICONS = [
  ["icon-192.png", 192, SVG],
  ["icon-512.png", 512, SVG],
  // The system cuts this one to its own shape.
  ["icon-maskable.png", 512, SVG.replace(/ rx="\d+"/, "")],
];

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, size, svg] of ICONS) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(`<style>body { margin: 0 } svg { display: block; width: 100vw }</style>${svg}`);
  await page.screenshot({ path: `site/${name}`, omitBackground: true });
  await page.close();
}
await browser.close();
