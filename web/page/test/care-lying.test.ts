/** The page of network care at a node whose answers are not what the API says: what is usable is shown, and nothing breaks. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { generator } from "../../client/test/support/liar.js";
import { LIGHT, scene, skip } from "./browser.js";

const RUNS = Number(process.env["PAGE_FUZZ_RUNS"] ?? 40);

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

const VALUES: readonly Json[] = [null, true, -1, 1e300, "", "\u202e<img src=x>", [], {}, [null], { length: 3 }];

const STATUS = {
  hostname: "kitchen",
  network: {
    provisioned: true,
    connected: true,
    internetReachable: true,
    apEnabled: false,
    hotspotSsid: "jarvis-1",
    lastSsid: "a",
  },
  runtime: { health: "ok" },
  recovery: { enabled: true, activeLock: "none" },
  restartPending: false,
  services: { networkManagerAvailable: true },
};
/** An honest answer for each path. */
const ANSWERS: Readonly<Record<string, Json>> = {
  status: { status: STATUS },
  networks: { networks: [{ ssid: "Attic", signal: 70, security: "WPA2", inUse: false }] },
  "networks/saved": { networks: [{ name: "Attic", active: true, autoconnect: true }] },
  "network/diagnostics": { diagnostics: { layers: [{ layer: "dns", verdict: "failed", evidence: "none", advice: "Wait." }] } },
  label: { name: "jarvis-1", code: "123456", pairingQr: "x", modules: ["10", "01"] },
  events: { id: "1", level: "info", message: "a", timestamp: 1, action: "recovery.started", phase: "started", status: STATUS },
};

/** Replaces, or leaves out, one part of an answer. */
function changed(value: Json, below: (limit: number) => number): Json {
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const [name, part] = entries[below(entries.length || 1)] ?? [];
  if (name === undefined || below(4) === 0) {
    return VALUES[below(VALUES.length)] ?? null;
  }
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, Json>;
  if (below(6) === 0) {
    delete copy[name];
  } else {
    copy[name] = changed(part as Json, below);
  }
  return copy as Json;
}

test("no answer of a node breaks the page of network care", { skip, timeout: 280_000 }, () =>
  scene(
    LIGHT,
    async (page, node) => {
      let below = generator(0);
      await page.route("**/api/provisioning/**", (route) => {
        const path = new URL(route.request().url()).pathname.replace("/api/provisioning/", "");
        const json = changed(ANSWERS[path] ?? { ok: true }, below);
        return path === "events"
          ? route.fulfill({ contentType: "text/event-stream", body: `event: device\ndata: ${JSON.stringify(json)}\n\n` })
          : route.fulfill({ json });
      });
      const shown = new Set<string>();
      for (let seed = 0; seed < RUNS; seed += 1) {
        below = generator(seed);
        await page.goto("about:blank");
        await page.goto(`${node.url}/care`);
        await page.waitForSelector("#care:not([hidden]), #lost:not([hidden])");
        for (const id of ["check", "change", "label"]) {
          if (await page.isVisible(`#${id}`)) {
            await page.click(`#${id}`);
            await page.waitForSelector(`#${id}:not([disabled])`, { state: "attached" });
          }
        }
        // What was drawn for the next frame is there.
        await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
        assert.equal(await page.locator("img").count(), 0);
        shown.add((await page.isVisible("#care")) ? "care" : "lost");
      }
      assert.deepEqual([...shown].sort(), ["care", "lost"]);
    },
    "[care]\nenabled = true\n",
  ),
);
