/** The flow with its retries, against a node in memory and in virtual time. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { FAULTS, PairingSecret, Phone, ProvisioningError, newRequestId } from "../src/index.js";
import type { Credentials, Progress, Status } from "../src/index.js";
import { VirtualClock } from "./support/clock.js";
import { ScriptedNode, lost } from "./support/node.js";

const CODE = "071934";

function credentials(passphrase = "correct horse battery"): Credentials {
  return {
    requestId: newRequestId(),
    ssid: "Lighthouse",
    passphrase,
    commandCenterUrl: "http://127.0.0.1:7703",
    nodeId: "6d12708f-649e-42ca-a84d-9cde56877655",
    provisioningToken: "prov_canary-token",
  };
}

function scene(): { node: ScriptedNode; phone: Phone; clock: VirtualClock } {
  const [node, clock] = [new ScriptedNode(), new VirtualClock()];
  return { node, clock, phone: new Phone(node, { clock }) };
}

async function nameOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProvisioningError, String(error));
  return error.name;
}

function outcome(status: Status): string {
  return status.fault?.name ?? status.state;
}

/** Throws at the nth call with that argument. */
function at(kind: string, nth: number, act: () => void): (request: string) => void {
  let count = 0;
  return (request) => {
    count += request === kind ? 1 : 0;
    if (request === kind && count === nth) {
      act();
    }
  };
}

test("a node is brought online", async () => {
  const { node, phone } = scene();
  assert.equal((await phone.info()).name, "jarvis-5b91b661");
  await phone.pair(PairingSecret.parse("071 934"));
  assert.deepEqual(
    (await phone.scan()).map(({ ssid }) => new TextDecoder().decode(ssid)),
    ["Lighthouse", "HomeNetwork"],
  );
  await phone.sendK2({ key: new Uint8Array(32), kid: "k2-1", createdAt: "2026-11-26T12:00:00Z" });
  const seen: Progress[] = [];
  const status = await phone.bringOnline(credentials(), { onProgress: (progress) => seen.push(progress) });
  assert.equal(outcome(status), "PROVISIONED");
  assert.deepEqual(
    seen.map(({ kind }) => kind),
    ["accepted", "status", "status"],
  );
  assert.equal(node.stored.kid, "k2-1");
});

test("a wrong password is named, and the session takes the right one", async () => {
  const { node, phone } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  assert.equal(outcome(await phone.bringOnline(credentials("wrong password"))), "WrongPassword");
  assert.equal(outcome(await phone.bringOnline(credentials())), "PROVISIONED");
  assert.equal(node.guesses, 1);
});

test("a wrong code is one guess, and the right one works on the same link", async () => {
  const { node, phone } = scene();
  assert.equal(await nameOf(phone.pair(PairingSecret.parse("000000"))), "WrongCode");
  assert.equal(node.guesses, 1);
  assert.equal(await nameOf(phone.status()), "NoSession");
  await phone.pair(PairingSecret.parse(CODE));
  assert.deepEqual([node.guesses, node.links], [2, 1]);
});

test("a refusal in clear has its fault and its waiting time", async () => {
  const { node, phone } = scene();
  node.refusals = [{ fault: "Locked", retryAfterSeconds: 61 }];
  const error = await phone.pair(PairingSecret.parse(CODE)).catch((reason: unknown) => reason);
  assert.ok(error instanceof ProvisioningError);
  assert.deepEqual([error.name, error.retryAfterSeconds, node.guesses], ["Locked", 61, 0]);
});

test("a node that got another id after info was read is opened again, once", async () => {
  const { node, phone } = scene();
  await phone.info();
  node.nodeId = "6d12708f-649e-42ca-a84d-9cde56877655";
  await phone.pair(PairingSecret.parse(CODE));
  assert.ok(phone.isPaired);
});

for (const kind of ["open", "credentials", "status"] as const) {
  test(`a link that is lost at ${kind} is opened again, and the attempt is one`, async () => {
    const { node, phone } = scene();
    await phone.pair(PairingSecret.parse(CODE));
    node.before = at("credentials", 1, () => {
      node.before = kind === "credentials" ? () => undefined : at(kind, 1, lost);
      lost();
    });
    const wanted = credentials();
    assert.equal(outcome(await phone.bringOnline(wanted)), "PROVISIONED");
    assert.ok(node.stored.credentials.every(({ requestId }) => requestId === wanted.requestId));
    assert.ok(node.links >= 2);
  });
}

test("an attempt that the node has forgotten is sent again", async () => {
  const { node, phone } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  node.isSlow = true;
  node.before = at("status", 1, () => {
    node.forget();
    node.isSlow = false;
  });
  const seen: string[] = [];
  const onProgress = ({ kind }: Progress) => {
    seen.push(kind);
    if (seen.length === 2) {
      node.disconnect();
    }
  };
  assert.equal(outcome(await phone.bringOnline(credentials(), { onProgress })), "PROVISIONED");
  assert.equal(node.stored.credentials.length, 2);
  assert.deepEqual(seen.slice(0, 4), ["accepted", "status", "lost", "back"]);
});

test("a silent node ends in a named error, and handshakes with the code stay few", async () => {
  const { node, phone, clock } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  node.mangle = (layer, bytes) => (layer === "outbound" ? undefined : bytes);
  assert.equal(await nameOf(phone.bringOnline(credentials())), "TimedOut");
  assert.ok(node.guesses <= 3, "the first, and two without an answer");
  assert.ok(clock.now() <= 300_000);
});

test("a node that stays away ends in a named error after the patience", async () => {
  const { node, phone, clock } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  node.before = lost;
  assert.equal(await nameOf(phone.bringOnline(credentials(), { patience: 60_000 })), "TimedOut");
  assert.equal(clock.now(), 60_000);
  assert.equal(node.guesses, 1);
});

test("an attempt is cancelled", async () => {
  const { node, phone } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  node.isSlow = true;
  const cancel = new AbortController();
  const onProgress = ({ kind }: Progress) => kind === "status" && cancel.abort();
  assert.equal(outcome(await phone.bringOnline(credentials(), { cancel: cancel.signal, onProgress })), "Cancelled");
});

test("a cancel that comes too late returns the outcome", async () => {
  const { node, phone } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  node.isSlow = true;
  const cancel = new AbortController();
  const onProgress = ({ kind }: Progress) => kind === "status" && cancel.abort();
  node.before = at("cancel", 1, () => node.finish());
  const wanted = credentials();
  const status = await phone.bringOnline(wanted, { cancel: cancel.signal, onProgress });
  assert.ok(["PROVISIONED", "Cancelled"].includes(outcome(status)));
});

test("a node that cannot cancel says so", async () => {
  const { node, phone } = scene();
  await phone.pair(PairingSecret.parse(CODE));
  Object.assign(node, { isSlow: true, isAbleToCancel: false });
  const wanted = credentials();
  const cancel = new AbortController();
  cancel.abort();
  assert.equal(await nameOf(phone.bringOnline(wanted, { cancel: cancel.signal })), "CannotCancel");
});

test("closing erases the secret and ends the session", async () => {
  const { phone } = scene();
  const secret = PairingSecret.parse(CODE);
  await phone.pair(secret);
  await phone.close();
  assert.ok(secret.expose().every((byte) => byte === 0));
  assert.equal(await nameOf(phone.scan()), "NoSession");
});

test("no secret is in an error, in a phone or in its JSON", async () => {
  const { node, phone } = scene();
  const [secret, wanted] = [PairingSecret.parse(CODE), credentials("canary password")];
  await phone.pair(secret);
  node.before = lost;
  const errors = [];
  errors.push(await phone.bringOnline(wanted, { patience: 1 }).catch((reason: unknown) => reason));
  for (const text of ["canary", "", "12345", "JARVIS:1:name:0011", `${CODE}0`]) {
    try {
      PairingSecret.parse(text);
    } catch (error) {
      errors.push(error);
    }
  }
  assert.equal(errors.length, 6);
  const { inspect } = await import("node:util");
  const shown = [...errors, secret, phone].map(
    (value) => `${inspect(value, { depth: 9, showHidden: true })} ${JSON.stringify(value)} ${String(value)}`,
  );
  for (const canary of ["canary", CODE, "12345", "0011"]) {
    assert.ok(!shown.join().includes(canary), canary);
  }
});

test("every fault of a node arrives by its name", async () => {
  for (const { name } of FAULTS.filter(({ name }) => name !== "NotAuthenticated" && name !== "StorageFailed" && name !== "Busy")) {
    const { node, phone } = scene();
    node.refusals = [{ fault: name }, { fault: name }];
    assert.equal(await nameOf(phone.pair(PairingSecret.parse(CODE))), name);
  }
});
