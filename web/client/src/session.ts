/** The handshake and the records: sections "The handshake" and "Records" of the protocol. */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha512 } from "@noble/hashes/sha2.js";

import { concat, isEqual, prefixed, uint64, utf8, wipe } from "./bytes.js";
import * as cpace from "./cpace.js";
import { ENDPOINTS } from "./endpoint.js";
import type { Writable } from "./endpoint.js";
import { ProvisioningError } from "./errors.js";
import { decodeAnswer, encodeOffer, encodeOpen } from "./messages.js";
import type { Accept, Record } from "./messages.js";
import type { PairingSecret } from "./secret.js";

/** The version of the protocol that this package speaks. */
export const VERSION = 1;

const PROTOCOL = utf8("jarvis-provisioning/1");
const NONE = new Uint8Array(0);
const LENGTHS = { key: 32, share: 32, tag: 64 };

/** Fills an array with random bytes. */
export type Random = (length: number) => Uint8Array;

/** The system's random bytes. */
export const systemRandom: Random = (length) => crypto.getRandomValues(new Uint8Array(length));

/** The phone between its opening and the node's answer. It is used once. */
export class Opening {
  /** The message to write to `session`. */
  readonly open: Uint8Array;
  readonly #nodeId: string;
  readonly #sessionId: Uint8Array;
  readonly #phone: cpace.Side;
  readonly #key: Uint8Array;
  #scalar: bigint;

  /** Starts a session with the node that claims to be `nodeId`, as `info` names it. */
  constructor(nodeId: string, secret: PairingSecret, random: Random = systemRandom) {
    this.#nodeId = nodeId;
    this.#key = random(32);
    this.#sessionId = random(16);
    const seed = random(64);
    this.#scalar = cpace.scalar(seed);
    wipe(seed);
    const generator = cpace.generator(secret.expose(), channel(nodeId), this.#sessionId);
    const data = encodeOffer(VERSION, secret.kind, x25519.getPublicKey(this.#key));
    this.#phone = { share: generator.multiply(this.#scalar).toBytes(), data };
    this.open = encodeOpen(this.#sessionId, this.#phone.share, data);
  }

  /**
   * Checks the node's answer. Nothing may be sent after an error.
   *
   * @throws {ProvisioningError} `Malformed`; `AnotherDevice`; `WrongCode`: the code is wrong, or this is another device
   */
  read(accept: Accept): Session {
    try {
      return this.#check(accept);
    } finally {
      this.#scalar = 0n;
      wipe(this.#key);
    }
  }

  #check(accept: Accept): Session {
    const node: cpace.Side = { share: accept.share, data: accept.answer };
    const answer = decodeAnswer(accept.answer);
    const lengths = [node.share.length, accept.confirmation.length, answer.key.length];
    if (!lengths.every((length, index) => length === [LENGTHS.share, LENGTHS.tag, LENGTHS.key][index])) {
      throw new ProvisioningError("Malformed");
    }
    if (answer.version !== VERSION || answer.nodeId !== this.#nodeId) {
      throw new ProvisioningError("AnotherDevice");
    }
    // A phone that gets its own share back talks to itself.
    const k = isEqual(node.share, this.#phone.share) ? undefined : cpace.agree(this.#scalar, node.share);
    const z = exchange(this.#key, answer.key);
    if (k === undefined || z === undefined) {
      throw new ProvisioningError("Malformed");
    }
    const isk = cpace.sessionKey(this.#sessionId, k, this.#phone, node);
    const confirmation = new cpace.Confirmation(this.#sessionId, isk);
    try {
      if (!confirmation.verify(node, accept.confirmation)) {
        throw new ProvisioningError("WrongCode");
      }
      return new Session(this.#keys(isk, z, node), confirmation.tag(this.#phone));
    } finally {
      confirmation.wipe();
      wipe(k, z, isk);
    }
  }

  #keys(isk: Uint8Array, z: Uint8Array, node: cpace.Side): Keys {
    const ci = channel(this.#nodeId);
    const { share, data } = this.#phone;
    const transcript = sha512(prefixed(ci, this.#sessionId, share, data, node.share, node.data));
    const input = concat(isk, z);
    const key = (way: string) => hkdf(sha512, input, transcript, concat(PROTOCOL, utf8(way)), LENGTHS.key);
    const keys = { toNode: key(" phone to node"), toPhone: key(" node to phone") };
    wipe(input);
    return keys;
  }
}

/** The keys of a session, one for each direction. */
export interface Keys {
  readonly toNode: Uint8Array;
  readonly toPhone: Uint8Array;
}

/** An open session of a phone. It ends with its link. */
export class Session {
  readonly #keys: Keys;
  #confirmation: Uint8Array;
  #sent = 0n;
  #opened = -1n;
  #isWiped = false;

  constructor(keys: Keys, confirmation: Uint8Array) {
    this.#keys = keys;
    this.#confirmation = confirmation;
  }

  /** Seals a request for an endpoint. The first record carries the phone's confirmation. */
  seal(endpoint: Writable, plaintext: Uint8Array): Record {
    if (this.#isWiped) {
      throw new ProvisioningError("NoSession");
    }
    const counter = this.#sent;
    this.#sent += 1n;
    const sealed = cipher(this.#keys.toNode, 0, ENDPOINTS[endpoint].number, counter).encrypt(plaintext);
    const confirmation = this.#confirmation;
    this.#confirmation = NONE;
    return { counter, sealed, confirmation };
  }

  /**
   * Opens a record of the node.
   *
   * @throws {ProvisioningError} `NotAuthenticated`: it was changed, or its counter was used
   */
  open(record: Record): Uint8Array {
    if (this.#isWiped || record.counter <= this.#opened) {
      throw new ProvisioningError("NotAuthenticated");
    }
    let plaintext;
    try {
      plaintext = cipher(this.#keys.toPhone, 1, ENDPOINTS.status.number, record.counter).decrypt(record.sealed);
    } catch {
      throw new ProvisioningError("NotAuthenticated");
    }
    this.#opened = record.counter;
    return plaintext;
  }

  /** Erases the keys. The session cannot be used afterwards. */
  wipe(): void {
    wipe(this.#keys.toNode, this.#keys.toPhone, this.#confirmation);
    this.#confirmation = NONE;
    this.#isWiped = true;
  }
}

function cipher(key: Uint8Array, direction: number, endpoint: number, counter: bigint) {
  const count = uint64(counter);
  return chacha20poly1305(key, concat(new Uint8Array(4), count), concat(PROTOCOL, Uint8Array.of(direction, endpoint), count));
}

/** CI: the roles, initiator first, and the node. */
function channel(nodeId: string): Uint8Array {
  return prefixed(PROTOCOL, utf8("phone"), utf8("node"), utf8(nodeId));
}

/** X25519; none if the result is zero (RFC 7748, 6.1). */
function exchange(own: Uint8Array, other: Uint8Array): Uint8Array | undefined {
  try {
    return x25519.getSharedSecret(own, other);
  } catch {
    return undefined;
  }
}
