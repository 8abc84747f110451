/** A node in memory: the responder of the protocol, with a script of what happens to it. */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha512 } from "@noble/hashes/sha2.js";

import { concat, isEqual, prefixed, uint64, utf8 } from "../../src/bytes.js";
import * as cpace from "../../src/cpace.js";
import { ENDPOINTS } from "../../src/endpoint.js";
import type { Readable, Writable } from "../../src/endpoint.js";
import { FAULTS, ProvisioningError } from "../../src/errors.js";
import type { FaultName } from "../../src/errors.js";
import type { Fault } from "../../src/generated/decode/jarvis/provisioning/v1/fault.js";
import { Request } from "../../src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import type { CareRequest, Credentials, Reply, Status } from "../../src/generated/decode/jarvis/provisioning/v1/provisioning.js";
import { Offer, Open, Record } from "../../src/generated/decode/jarvis/provisioning/v1/session.js";
import { Info, Message, PublicStatus, Security, State } from "../../src/generated/encode/jarvis/provisioning/v1/provisioning.js";
import { Answer, Outbound } from "../../src/generated/encode/jarvis/provisioning/v1/session.js";
import type { Transport } from "../../src/transport.js";

const PROTOCOL = utf8("jarvis-provisioning/1");

/** Networks in one message of 4096 bytes. */
const PART = 80;

const IDLE: Status = {
  state: State.AP_MODE,
  progressPercent: 0,
  message: "",
  fault: 0,
  retryable: false,
  requestId: 0n,
  ssid: new Uint8Array(),
  registrationStatus: 0,
  limitedConnectivity: false,
  applianceId: "",
  nextUrl: "",
};

/** Where a message of the node can be changed. */
export type Layer = "value" | "outbound" | "plaintext";

/** Changes the node's messages; none drops the message. */
export type Mangle = (layer: Layer, bytes: Uint8Array) => Uint8Array | undefined;

interface Keys {
  readonly toNode: Uint8Array;
  readonly toPhone: Uint8Array;
  readonly confirmation: Uint8Array;
}

function number(fault: FaultName | number): Fault {
  return (FAULTS.find(({ name }) => name === fault)?.number ?? fault) as Fault;
}

/** A node with one link. Its behaviour is public, for tests to change. */
export class ScriptedNode implements Transport {
  nodeId = "jarvis-5b91b661";
  code = "071934";
  /** The password that joins; others are wrong. */
  passphrase = "correct horse battery";
  networks = ["Lighthouse", "HomeNetwork"];
  /** The protection of its networks. */
  security: Security = Security.WPA2;
  /** The country of its radio, as in `info`; with `00` it scans only for a phone that names one. */
  country = "";
  mangle: Mangle = (_layer, bytes) => bytes;
  /** Called for each request before it is executed; throws to lose the link. */
  before: (request: NonNullable<Request["kind"]>["$case"] | "open" | "info") => void = () => undefined;
  /** The attempt waits for a cancel instead of ending. */
  isSlow = false;
  isAbleToCancel = true;
  /** Where the owner continues after a success. */
  nextUrl = "";
  /** The replies of network care; a node without it refuses. */
  care: (request: CareRequest["kind"]) => NonNullable<Reply["kind"]>[] = () => [{ $case: "refused", value: number("Malformed") }];
  /** Refusals in clear, one for each `Open`, before any is answered. */
  refusals: { fault: FaultName; retryAfterSeconds?: number }[] = [];

  guesses = 0;
  links = 1;
  stored: { kid?: string; credentials: Credentials[]; countries: string[] } = { credentials: [], countries: [] };
  status: Status = IDLE;

  #outbound: Uint8Array[] = [];
  #wake: () => void = () => undefined;
  #keys: Keys | undefined;
  #isConfirmed = false;
  #sent = 0n;
  #isLost = false;

  async read(endpoint: Readable): Promise<Uint8Array> {
    this.before("info");
    const { state, progressPercent, fault } = this.status;
    const info = { nodeId: this.nodeId, name: this.nodeId, state, versions: [1], capabilities: [], previouslyProvisioned: false };
    const value =
      endpoint === "info"
        ? Info.encode({ ...info, firmwareVersion: "1.0.0", hardware: "linux-x86_64", country: this.country }).finish()
        : PublicStatus.encode({ state, progressPercent, fault }).finish();
    return this.mangle("value", value) ?? new Uint8Array();
  }

  async write(endpoint: Writable, message: Uint8Array): Promise<void> {
    if (endpoint === "session") {
      this.#open(message);
    } else {
      this.#record(endpoint, message);
    }
  }

  async receive(signal: AbortSignal): Promise<Uint8Array | undefined> {
    while (this.#outbound.length === 0 && !signal.aborted) {
      if (this.#isLost) {
        lost();
      }
      await new Promise<void>((resolve) => {
        this.#wake = () => {
          signal.removeEventListener("abort", this.#wake);
          resolve();
        };
        signal.addEventListener("abort", this.#wake);
      });
    }
    return this.#outbound.shift();
  }

  async reconnect(): Promise<void> {
    this.links += 1;
    this.#isLost = false;
    this.#keys = undefined;
    this.#outbound = [];
  }

  async close(): Promise<void> {
    this.#keys = undefined;
  }

  /** Loses the link once its messages are read. */
  disconnect(): void {
    this.#isLost = true;
    this.#wake();
  }

  /** Loses the attempt, as a node that restarts before it has stored it. */
  forget(): void {
    this.status = IDLE;
  }

  /** Ends the attempt in progress. */
  finish(fault?: FaultName | number): void {
    if (fault === undefined) {
      this.#change({ state: State.PROVISIONED, progressPercent: 100, nextUrl: this.nextUrl });
    } else {
      this.#change({ state: State.ERROR, progressPercent: 35, fault: number(fault) });
      this.#change({ state: State.ERROR, progressPercent: 35, fault: number(fault), retryable: true });
    }
  }

  #open(message: Uint8Array): void {
    this.before("open");
    const open = Open.decode(message);
    const offer = Offer.decode(open.offer);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) {
      const { fault, retryAfterSeconds = 0 } = refusal;
      this.#send({ $case: "refusal", value: { fault: number(fault), retryAfterSeconds } });
      return;
    }
    this.guesses += 1;
    const ci = prefixed(PROTOCOL, utf8("phone"), utf8("node"), utf8(this.nodeId));
    const key = x25519.utils.randomSecretKey();
    const data = Answer.encode({
      version: 1,
      key: x25519.getPublicKey(key),
      nodeId: this.nodeId,
      versions: [1],
      capabilities: [],
    }).finish();
    const scalar = cpace.scalar(crypto.getRandomValues(new Uint8Array(64)));
    const share = cpace.generator(utf8(this.code), ci, open.sessionId).multiply(scalar).toBytes();
    const k = cpace.agree(scalar, open.share);
    if (k === undefined) {
      throw new TypeError("the phone's share is valid");
    }
    const [phone, node] = [
      { share: open.share, data: open.offer },
      { share, data },
    ];
    const isk = cpace.sessionKey(open.sessionId, k, phone, node);
    const tags = new cpace.Confirmation(open.sessionId, isk);
    const transcript = sha512(prefixed(ci, open.sessionId, open.share, open.offer, share, data));
    const input = concat(isk, x25519.getSharedSecret(key, offer.key));
    const derive = (way: string) => hkdf(sha512, input, transcript, concat(PROTOCOL, utf8(way)), 32);
    this.#keys = { toNode: derive(" phone to node"), toPhone: derive(" node to phone"), confirmation: tags.tag(phone) };
    this.#isConfirmed = false;
    this.#sent = 0n;
    this.#send({ $case: "accept", value: { share, confirmation: tags.tag(node), answer: data } });
  }

  #record(endpoint: Writable, message: Uint8Array): void {
    const record = Record.decode(message);
    const keys = this.#keys;
    if (keys === undefined || (!this.#isConfirmed && !isEqual(record.confirmation, keys.confirmation))) {
      const fault = number(keys === undefined ? "NotAuthenticated" : "WrongCode");
      this.#send({ $case: "refusal", value: { fault, retryAfterSeconds: 0 } });
      return;
    }
    this.#isConfirmed = true;
    const plaintext = cipher(keys.toNode, 0, ENDPOINTS[endpoint].number, record.counter).decrypt(record.sealed);
    const { kind } = Request.decode(plaintext);
    if (kind === undefined) {
      throw new TypeError("the phone's request has a kind");
    }
    this.before(kind.$case);
    this.#execute(record.counter, kind);
  }

  #execute(to: bigint, request: NonNullable<Request["kind"]>): void {
    switch (request.$case) {
      case "scan":
        this.stored.countries.push(request.value.country);
        if (this.country === "00" && request.value.country === "") {
          this.#reply(to, { $case: "refused", value: number("CountryMissing") });
        } else {
          this.#scan(to);
        }
        break;
      case "k2":
        this.stored.kid = request.value.kid;
        this.#reply(to, { $case: "k2Stored", value: { kid: request.value.kid } });
        break;
      case "credentials":
        this.#attempt(to, request.value);
        break;
      case "status":
        this.#reply(to, { $case: "status", value: this.status });
        break;
      case "cancel":
        if (!this.isAbleToCancel) {
          this.#reply(to, { $case: "refused", value: number("Malformed") });
        } else if (this.status.requestId !== request.value.requestId) {
          this.#reply(to, { $case: "refused", value: number("NoAttempt") });
        } else {
          this.finish("Cancelled");
          this.#reply(to, { $case: "status", value: this.status });
        }
        break;
      case "care":
        for (const reply of this.care(request.value.kind)) {
          this.#reply(to, reply);
        }
    }
  }

  #scan(to: bigint): void {
    const found = this.networks.map((name, index) => ({
      ssid: utf8(name),
      signalDbm: -40 - index,
      security: this.security,
      frequency: 2437,
    }));
    // In parts that fit into a message: at least two, unless there is none.
    const size = Math.max(1, Math.min(PART, Math.ceil(found.length / 2)));
    for (let start = 0; start === 0 || start < found.length; start += size) {
      const networks = found.slice(start, start + size);
      this.#reply(to, { $case: "networks", value: { networks, last: start + size >= found.length } });
    }
  }

  #attempt(to: bigint, credentials: Credentials): void {
    this.stored.credentials.push(credentials);
    this.#reply(to, { $case: "accepted", value: { requestId: credentials.requestId } });
    this.#change({ state: State.CONNECTING, progressPercent: 20, requestId: credentials.requestId, ssid: credentials.ssid });
    if (!this.isSlow) {
      const isLogin = credentials.enterprise !== undefined;
      this.finish(isLogin || credentials.passphrase === this.passphrase ? undefined : "WrongPassword");
    }
  }

  #change(status: Partial<Status>): void {
    const { requestId, ssid } = this.status;
    this.status = { ...IDLE, requestId, ssid, ...status };
    this.#seal({ $case: "event", value: { kind: { $case: "status", value: this.status } } });
  }

  #reply(to: bigint, kind: NonNullable<Reply["kind"]>): void {
    this.#seal({ $case: "reply", value: { to, kind } });
  }

  #seal(kind: NonNullable<Message["kind"]>): void {
    const plaintext = this.mangle("plaintext", Message.encode({ kind }).finish());
    if (this.#keys !== undefined && plaintext !== undefined) {
      const counter = this.#sent;
      this.#sent += 1n;
      const sealed = cipher(this.#keys.toPhone, 1, 5, counter).encrypt(plaintext);
      this.#send({ $case: "record", value: { counter, sealed, confirmation: new Uint8Array() } });
    }
  }

  #send(kind: NonNullable<Outbound["kind"]>): void {
    const message = this.mangle("outbound", Outbound.encode({ kind }).finish());
    if (message !== undefined) {
      this.#outbound.push(message);
      this.#wake();
    }
  }
}

/** What a transport throws when its link is lost. */
export function lost(): never {
  throw new ProvisioningError("LinkLost");
}

function cipher(key: Uint8Array, direction: number, endpoint: number, counter: bigint) {
  const count = uint64(counter);
  return chacha20poly1305(key, concat(new Uint8Array(4), count), concat(PROTOCOL, Uint8Array.of(direction, endpoint), count));
}
