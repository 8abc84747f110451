/** Network care, against a node in memory and in virtual time. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Fault } from "../src/generated/decode/jarvis/provisioning/v1/fault.js";
import { Level, Phase, Recovery, Verdict } from "../src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import type { CareRequest, Reply } from "../src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import { NetworkCare, PairingSecret, Phone, ProvisioningError } from "../src/index.js";
import { VirtualClock } from "./support/clock.js";
import { ScriptedNode, lost } from "./support/node.js";

type Replies = NonNullable<Reply["kind"]>[];

/** A phone with a session at a node that replies so, and the requests that the node gets. */
async function scene(...replies: Replies) {
  const [node, clock] = [new ScriptedNode(), new VirtualClock()];
  const asked: CareRequest["kind"][] = [];
  node.care = (request) => {
    asked.push(request);
    return replies;
  };
  const phone = new Phone(node, { clock });
  await phone.pair(PairingSecret.parse("071934"));
  return { node, asked, phone, care: new NetworkCare(phone) };
}

const DONE: Reply["kind"] = { $case: "done", value: {} };

async function nameOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProvisioningError, String(error));
  return error.name;
}

test("the state of the network is read", async () => {
  const network = {
    connected: true,
    ssid: Uint8Array.of(72),
    address: "192.168.1.7",
    internet: true,
    hotspot: false,
    lastError: "",
  };
  for (const [number, recovery] of [undefined, "ready", "disabled", "cooldown", "inProgress"].entries()) {
    const { care } = await scene({ $case: "careStatus", value: { ...network, recovery: number as Recovery } });
    assert.deepEqual(await care.status(), { ...network, recovery });
  }
});

test("what has no result is done", async () => {
  const { care, asked } = await scene(DONE);
  await care.join("Café ☕");
  await care.join(Uint8Array.of(255));
  await care.forget("Attic");
  await care.hotspot(true);
  await care.hotspot(false);
  await care.recover();
  await care.restart();
  await care.connect("Café ☕", "correct horse", true);
  await care.connect(Uint8Array.of(255), "");
  await care.reset();
  assert.deepEqual(
    asked.map((request) => request?.$case),
    ["join", "join", "forget", "hotspot", "hotspot", "recover", "restart", "connect", "connect", "reset"],
  );
  assert.deepEqual(
    [asked[0]?.value, asked[1]?.value, asked[3]?.value, asked[4]?.value],
    [new TextEncoder().encode("Café ☕"), Uint8Array.of(255), true, false],
  );
});

test("the label has its code, module by module", async () => {
  const texts = { name: "jarvis-5b91b661", code: "071934", pairingQr: "JARVIS:1:jarvis-5b91b661:00" };
  const label = (size: number, ...modules: number[]): Replies[number] => ({
    $case: "label",
    value: { ...texts, size, modules: Uint8Array.from(modules) },
  });
  const { modules, ...others } = await (await scene(label(3, 0b10101100, 0b10000000))).care.label();
  assert.deepEqual(others, texts);
  assert.deepEqual(modules, [
    [true, false, true],
    [false, true, true],
    [false, false, true],
  ]);
  assert.deepEqual((await (await scene(label(0))).care.label()).modules, []);
  for (const lie of [label(3, 0b10101100), label(4_000_000_000), label(178, ...Array<number>(4000).fill(0))]) {
    assert.equal(await nameOf((await scene(lie)).care.label()), "Malformed");
  }
});

test("a list that comes in parts is whole", async () => {
  const network = (name: string) => ({ name, autoconnect: true, active: false });
  const { care } = await scene(
    { $case: "saved", value: { networks: [network("Home"), network("Attic")], last: false } },
    { $case: "saved", value: { networks: [network("Office")], last: true } },
  );
  assert.deepEqual(
    (await care.saved()).map(({ name }) => name),
    ["Home", "Attic", "Office"],
  );
});

test("a diagnosis has a verdict for each layer", async () => {
  const layer = (name: string, verdict: Verdict) => ({ name, verdict, evidence: "seen", advice: "" });
  const layers = [layer("radio", Verdict.OK), layer("dns", Verdict.FAILED), layer("internet", Verdict.NOT_REACHED)];
  const { care } = await scene({ $case: "diagnosis", value: { layers } });
  assert.deepEqual(
    (await care.diagnose()).map(({ name, verdict }) => [name, verdict]),
    [
      ["radio", "ok"],
      ["dns", "failed"],
      ["internet", "notReached"],
    ],
  );
});

test("events come in their order, with a gap before them, after the id that is asked for", async () => {
  const event = (id: string, level: Level, action: string, phase: Phase) => ({ id, level, message: "x", action, phase });
  const [first, second] = [
    event("20260301120000-000000", Level.INFO, "network.connect", Phase.STARTED),
    event("20260301120001-000000", Level.WARNING, "", Phase.UNSPECIFIED),
  ];
  const { care, asked } = await scene(
    { $case: "events", value: { events: [first], last: false, gap: true } },
    { $case: "events", value: { events: [second], last: true, gap: true } },
  );
  const { events, gap } = await care.events();
  assert.ok(gap);
  assert.deepEqual(
    events.map(({ id, level, phase }) => [id, level, phase]),
    [
      [first.id, "info", "started"],
      [second.id, "warning", undefined],
    ],
  );
  await care.events(second.id);
  assert.deepEqual(
    asked.map((request) => request?.value),
    [{ after: "" }, { after: second.id }],
  );
});

test("a refusal has its fault, and the session still works", async () => {
  const { node, care } = await scene({ $case: "refused", value: Fault.IN_PROGRESS });
  assert.equal(await nameOf(care.recover()), "InProgress");
  node.care = () => [DONE];
  await care.recover();
});

test("without network care the requests are refused as malformed", async () => {
  const node = new ScriptedNode();
  const phone = new Phone(node, { clock: new VirtualClock() });
  const care = new NetworkCare(phone);
  assert.equal(await nameOf(care.status()), "NoSession");
  await phone.pair(PairingSecret.parse("071934"));
  assert.equal(await nameOf(care.status()), "Malformed");
});

test("another answer, an unknown number and silence are errors", async () => {
  assert.equal(await nameOf((await scene(DONE)).care.status()), "UnexpectedAnswer");
  const layers = [{ name: "radio", verdict: Verdict.UNSPECIFIED, evidence: "", advice: "" }];
  assert.equal(await nameOf((await scene({ $case: "diagnosis", value: { layers } })).care.diagnose()), "Malformed");
  const events = [{ id: "", level: 9 as Level, message: "", action: "", phase: Phase.STARTED }];
  const unknown: Reply["kind"] = { $case: "events", value: { events, last: true, gap: false } };
  assert.equal(await nameOf((await scene(unknown)).care.events()), "Malformed");
  assert.equal(await nameOf((await scene()).care.status()), "TimedOut");
});

test("a link that is lost is an error, and another one works", async () => {
  const { node, phone, care } = await scene(DONE);
  node.before = (request) => {
    if (request === "care") lost();
  };
  assert.equal(await nameOf(care.hotspot(true)), "LinkLost");
  node.before = () => undefined;
  await phone.restore();
  await care.hotspot(true);
});
