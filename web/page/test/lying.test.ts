/** The setup page at a node that lies in any message: every run ends with a sentence or with another view. */

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Page } from "playwright-core";

import { generator, liar } from "../../client/test/support/liar.js";
import { ScriptedNode } from "../../client/test/support/node.js";
import type { Node } from "../../client/test/support/programs.js";
import { LIGHT, center, link, scene, skip } from "./browser.js";
import { isFailedLoad } from "./console.js";
import { answerBy } from "./support.js";

const RUNS = Number(process.env["PAGE_FUZZ_RUNS"] ?? 40);
/** What the page shows in the end: a sentence, a fault at a field, or the last view. */
const END = "#notice.bad:not([hidden]), .error:not([hidden]), #done:not([hidden])";
/** Steps of the page's clock, milliseconds, and their limit: more than the patience for an attempt. */
const STEP = 5_000;
const STEPS = 100;

/** Lets time pass until the page shows one of these. */
async function until(page: Page, selector: string, context: string): Promise<void> {
  for (let step = 0; step < STEPS; step += 1) {
    const isThere = await page.waitForSelector(selector, { timeout: 100 }).then(
      () => true,
      () => false,
    );
    if (isThere) {
      return;
    }
    await page.clock.runFor(STEP);
  }
  assert.fail(`${context}: the page shows nothing; it is at ${await page.textContent("main > :not([hidden]) h1")}`);
}

async function attempt(page: Page, password: string, context: string): Promise<void> {
  if (await page.isVisible("#list button:not([disabled])")) {
    await page.click("#list button:not([disabled]) >> nth=0");
  }
  if (await page.isVisible("#passphrase")) {
    await page.fill("#passphrase", password);
    await page.click("#details .main");
    await until(page, END, context);
  }
}

/** A name that is a lie leads nowhere: the browser connects to the name on the label only. */
function isRefused(said: string): boolean {
  return isFailedLoad(said) || said.includes("Content Security Policy");
}

test("every lie of a node ends with a sentence or with another view", { skip, timeout: 280_000 }, () =>
  scene(LIGHT, flow, "", isRefused),
);

async function flow(page: Page, node: Node): Promise<void> {
  let current = new ScriptedNode();
  await answerBy(page, () => current);
  await page.clock.install();
  const order = await center.order();
  const ends = new Set<string>();
  for (let seed = 0; seed < RUNS; seed += 1) {
    const context = `seed ${seed}`;
    current = new ScriptedNode();
    current.mangle = liar(generator(seed));
    await page.goto("about:blank");
    await page.goto(link(node, order, current.code));
    await until(page, `${END}, #list button`, context);
    await attempt(page, "not the password", context);
    await attempt(page, "correct horse battery", context);
    ends.add((await page.getAttribute("main > :is(form, section):not([hidden])", "id")) ?? "");
  }
  assert.ok(ends.has("code") && ends.has("done"), `some lies stop the setup, and some do not: ${[...ends].join()}`);
}
