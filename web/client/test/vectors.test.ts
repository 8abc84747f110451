/** The package computes, sends and refuses what `tests/vectors` lists. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ristretto255 } from "@noble/curves/ed25519.js";

import * as cpace from "../src/cpace.js";
import type { Writable } from "../src/endpoint.js";
import { ProvisioningError } from "../src/errors.js";
import { Reassembler, frames } from "../src/framing.js";
import * as receivedProvisioning from "../src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import * as receivedSession from "../src/generated/decode/jarvis/provisioning/v1/session.js";
import * as sentProvisioning from "../src/generated/encode/jarvis/provisioning/v1/provisioning.js";
import * as sentSession from "../src/generated/encode/jarvis/provisioning/v1/session.js";
import {
  decodeInfo,
  decodeList,
  decodeMessage,
  decodeOutbound,
  decodePublicStatus,
  encodeRecord,
  encodeRequest,
} from "../src/messages.js";
import type { Accept, Credentials, EapMethod, Request } from "../src/messages.js";
import { PairingSecret } from "../src/secret.js";
import { Opening } from "../src/session.js";
import { bytes, hex, read } from "./support/vectors.js";

const decoders = { ...receivedProvisioning, ...receivedSession };
const encoders = { ...sentProvisioning, ...sentSession };
const sessions = read("session");
const wire: Record<string, string> = read("wire");
const framing = read("framing");

/** Random bytes in the order in which an opening takes them: key, session id, scalar. */
function scripted(random: Record<string, string>) {
  const values = [random["phone_key"], random["session_id"], random["phone_scalar"]];
  return (length: number) => {
    const value = bytes(values.shift() ?? "");
    assert.equal(value.length, length);
    return value;
  };
}

function opening(vector: any): Opening {
  const secret =
    vector.secret === "code" ? PairingSecret.parse(vector.phone_code) : PairingSecret.parse(`JARVIS:1:any:${sessions.qr}`);
  return new Opening(sessions.node_id, secret, scripted(vector.random));
}

function accept(encoded: string): Accept {
  const outbound = decodeOutbound(bytes(encoded));
  assert.equal(outbound.kind, "accept");
  return (outbound as { accept: Accept }).accept;
}

function nameOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof ProvisioningError, String(error));
    return error.name;
  }
  return undefined;
}

test("CPace gives the values of the draft", () => {
  const draft = read("cpace");
  const [id, channel] = [bytes(draft.session_id), bytes(draft.channel)];
  const generator = cpace.generator(bytes(draft.password), channel, id);
  assert.equal(hex(generator.toBytes()), draft.generator);
  const [ya, yb] = [cpace.scalar(bytes(draft.ya)), cpace.scalar(bytes(draft.yb))];
  const phone = { share: generator.multiply(ya).toBytes(), data: bytes(draft.ADa) };
  const node = { share: generator.multiply(yb).toBytes(), data: bytes(draft.ADb) };
  assert.deepEqual([hex(phone.share), hex(node.share)], [draft.Ya, draft.Yb]);
  const k = cpace.agree(ya, node.share);
  assert.ok(k);
  assert.equal(hex(k), draft.K);
  assert.equal(hex(cpace.agree(yb, phone.share) ?? new Uint8Array()), draft.K);
  assert.equal(hex(cpace.sessionKey(id, k, phone, node)), draft.ISK_IR);
  const { s, X, result } = draft.scalar_mult;
  assert.equal(hex(cpace.agree(cpace.scalar(bytes(s)), bytes(X)) ?? new Uint8Array()), result);
  for (const share of draft.invalid_shares) {
    assert.equal(cpace.agree(ya, bytes(share)), undefined);
  }
});

test("a scalar is reduced by the order of the group", () => {
  assert.equal(cpace.scalar(new Uint8Array(64).fill(0xff)), ((1n << 512n) % ristretto255.Point.Fn.ORDER) - 1n);
});

for (const vector of sessions.success) {
  test(`session: ${vector.name}`, () => {
    const phone = opening(vector);
    assert.equal(hex(phone.open), vector.open);
    const established = phone.read(accept(vector.accept));
    for (const { from, endpoint, plaintext, record } of vector.records) {
      if (from === "phone") {
        assert.equal(hex(encodeRecord(established.seal(endpoint as Writable, bytes(plaintext)))), record);
      } else {
        const sealed = decoders.Record.decode(bytes(record));
        assert.equal(hex(established.open(sealed)), plaintext);
        assert.equal(
          nameOf(() => established.open(sealed)),
          "NotAuthenticated",
          "each counter is used once",
        );
      }
    }
  });
}

test("the phone refuses what it must", () => {
  const names: Record<string, string> = { Malformed: "Malformed", Mismatch: "AnotherDevice", WrongSecret: "WrongCode" };
  assert.ok(sessions.phone_refuses.length > 20);
  for (const vector of sessions.phone_refuses) {
    const phone = opening(vector);
    assert.equal(hex(phone.open), vector.open, vector.name);
    assert.equal(
      nameOf(() => phone.read(accept(vector.accept))),
      names[vector.error],
      vector.name,
    );
  }
});

const TYPES = [
  [/^offer/, "Offer"],
  [/^open$/, "Open"],
  [/^answer$/, "Answer"],
  [/^(accept|record outbound|refusal.*)$/, "Outbound"],
  [/^(first )?record$/, "Record"],
  [/^list of outbounds$/, "OutboundList"],
  [/^info( |$)/, "Info"],
  [/^public status/, "PublicStatus"],
  [/ request( |$)/, "Request"],
  [/ reply$|^event/, "Message"],
] as const;

function recoded(type: (typeof TYPES)[number][1], encoded: Uint8Array): string {
  const encoder: sentSession.MessageFns<any> = encoders[type];
  return hex(encoder.encode(decoders[type].decode(encoded)).finish());
}

test("every kind of message has the bytes of the vectors", () => {
  for (const [name, encoded] of Object.entries(wire)) {
    const type = TYPES.find(([pattern]) => pattern.test(name))?.[1];
    assert.ok(type, `the document names the type of ${name}`);
    assert.equal(recoded(type, bytes(encoded)), encoded, name);
  }
});

test("every message of the node is read", () => {
  for (const [name, encoded] of Object.entries(wire)) {
    const value = bytes(encoded);
    if (name === "info") {
      assert.equal(decodeInfo(value).nodeId, sessions.node_id);
    } else if (name.startsWith("public status")) {
      assert.ok(decodePublicStatus(value).state);
    } else if (name === "list of outbounds") {
      assert.deepEqual(
        decodeList(value).map((message) => decodeOutbound(message).kind),
        ["refusal", "record"],
      );
    } else if (/ reply$|^event/.test(name)) {
      assert.ok(decodeMessage(value).kind);
    } else if (/^(accept|record outbound|refusal.*)$/.test(name)) {
      assert.ok(decodeOutbound(value).kind);
    }
  }
});

/** Credentials as the package takes them: the method of a login by its name. */
function named({ enterprise: login, ...others }: receivedProvisioning.Credentials): Credentials {
  const methods: readonly EapMethod[] = ["PEAP_MSCHAPV2", "TTLS_PAP", "TLS"];
  const method = methods[(login?.method ?? 0) - 1];
  return login === undefined || method === undefined ? others : { ...others, enterprise: { ...login, method } };
}

test("every request is written as in the vectors", () => {
  const names = Object.keys(wire).filter((name) => / request( |$)/.test(name));
  assert.ok(names.length >= 17);
  for (const name of names) {
    const { kind } = decoders.Request.decode(bytes(wire[name] ?? ""));
    assert.ok(kind);
    const nested = kind.$case === "k2" || kind.$case === "credentials";
    const value = kind.$case === "credentials" ? named(kind.value) : kind.value;
    const plain = { kind: kind.$case, ...(nested ? { [kind.$case]: value } : value) };
    const request = (kind.$case === "care" ? { kind: "care", request: kind.value.kind } : plain) as Request;
    assert.equal(hex(encodeRequest(request)), wire[name], name);
  }
});

test("messages have the frames of the vectors", () => {
  for (const { name, size, message, frames: expected } of framing.messages) {
    assert.deepEqual(frames(bytes(message), size).map(hex), expected, name);
  }
  for (const vector of [...framing.messages, framing.restarted]) {
    const reassembler = new Reassembler();
    const results = vector.frames.map((frame: string) => reassembler.push(bytes(frame)));
    assert.equal(hex(results.pop()), vector.message, vector.name);
    assert.ok(
      results.every((result: unknown) => result === undefined),
      vector.name,
    );
  }
});

test("frames are refused with the fault of the vectors", () => {
  for (const { name, limit, frames: pushed, fault } of framing.refused) {
    const reassembler = new Reassembler(limit);
    const last = pushed.pop();
    pushed.forEach((frame: string) => assert.equal(reassembler.push(bytes(frame)), undefined, name));
    assert.equal(
      nameOf(() => reassembler.push(bytes(last))),
      fault,
      name,
    );
  }
});
