/** A node that lies in any message: every run ends, with an outcome or with a named error. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Reassembler } from "../src/framing.js";
import { HttpTransport, LANGUAGES, PairingSecret, Phone, ProvisioningError, errorText, newRequestId } from "../src/index.js";
import { decodeInfo, decodeList, decodeMessage, decodeOutbound, decodePublicStatus } from "../src/messages.js";
import { VirtualClock } from "./support/clock.js";
import { generator, liar, mutated } from "./support/liar.js";
import { ScriptedNode } from "./support/node.js";
import { bytes, read } from "./support/vectors.js";

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 240);

function assertNamed(error: unknown, context: string): void {
  assert.ok(error instanceof ProvisioningError, `${context}: ${String(error)}`);
  for (const language of LANGUAGES) {
    assert.notEqual(errorText(error.name, language), error.name, `${context}: ${error.name} has no text`);
  }
}

async function run(phone: Phone): Promise<void> {
  await phone.info();
  await phone.publicStatus();
  await phone.pair(PairingSecret.parse("071934"));
  await phone.scan();
  await phone.sendK2({ key: new Uint8Array(32), kid: "k2-1", createdAt: "2026-11-26T12:00:00Z" });
  const rest = { commandCenterUrl: "http://127.0.0.1:7703", nodeId: "a-node", provisioningToken: "prov_token" };
  const ssid = "Lighthouse";
  await phone.bringOnline({ ...rest, requestId: newRequestId(), ssid, passphrase: "wrong password" });
  await phone.bringOnline({ ...rest, requestId: newRequestId(), ssid, passphrase: "correct horse battery" });
  await phone.status();
}

test("every run with a lying node ends with an outcome or a named error", async () => {
  const ends = new Map<string, number>();
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const node = new ScriptedNode();
    node.mangle = liar(generator(seed));
    const phone = new Phone(node, { clock: new VirtualClock() });
    let end = "done";
    try {
      await run(phone);
    } catch (error) {
      assertNamed(error, `seed ${seed}`);
      end = (error as ProvisioningError).name;
    }
    ends.set(end, (ends.get(end) ?? 0) + 1);
    await phone.close();
  }
  for (const expected of ["done", "Malformed", "TimedOut"]) {
    assert.ok(ends.has(expected), `${expected} is among ${[...ends.keys()].join(", ")}`);
  }
});

test("a lying HTTP server gives named errors", async () => {
  const list = bytes(read("wire")["list of outbounds"]);
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const below = generator(seed);
    const clock = new VirtualClock();
    const transport = new HttpTransport("http://192.0.2.1:8080", {
      clock,
      fetch: async (_url, { signal }) => {
        if (below(12) === 0) {
          await clock.sleep(60_000, signal ?? undefined);
          throw new DOMException("aborted", "AbortError");
        }
        if (below(12) === 0) {
          throw new TypeError("Failed to fetch");
        }
        const status = [200, 200, 200, 200, 401, 403, 404, 413, 500, 503][below(10)] ?? 200;
        const body = below(2) === 0 ? (mutated(list, below) ?? new Uint8Array()) : bytes(read("wire")["info"]);
        const headers = {
          "content-type": below(6) === 0 ? "text/html" : "application/x-protobuf",
          "jarvis-session": "0".repeat(32),
        };
        return new Response(body as Uint8Array<ArrayBuffer>, { status, headers });
      },
    });
    const phone = new Phone(transport, { clock });
    await run(phone).then(
      () => assert.fail("no lie is a session"),
      (error: unknown) => assertNamed(error, `seed ${seed}`),
    );
    await phone.close();
  }
});

test("a body without end is refused", async () => {
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65_536)) });
  const headers = { "content-type": "application/x-protobuf" };
  const transport = new HttpTransport("http://192.0.2.1", { fetch: () => Promise.resolve(new Response(endless, { headers })) });
  await assert.rejects(transport.read("info"), { name: "TooLarge" });
});

test("no bytes make a parser throw anything else than its error", () => {
  const samples = Object.values<string>(read("wire")).map(bytes);
  const below = generator(7);
  const parsers = [decodeInfo, decodeList, decodeMessage, decodeOutbound, decodePublicStatus];
  for (let count = 0; count < 20 * RUNS; count += 1) {
    const sample = mutated(samples[below(samples.length)] ?? new Uint8Array(), below) ?? new Uint8Array();
    for (const parse of parsers) {
      try {
        parse(sample);
      } catch (error) {
        assertNamed(error, Buffer.from(sample).toString("hex"));
      }
    }
  }
});

test("no values make the reassembler throw anything else, or hold more than a message", () => {
  const below = generator(11);
  const reassembler = new Reassembler();
  for (let count = 0; count < 100 * RUNS; count += 1) {
    const value = Uint8Array.from({ length: below(30) }, () => below(256));
    value[0] = below(3) === 0 ? 0x80 : below(4);
    try {
      const message = reassembler.push(value);
      assert.ok(message === undefined || message.length <= 4096);
    } catch (error) {
      assertNamed(error, "a frame");
    }
  }
});
