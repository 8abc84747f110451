/** CPace, suite CPACE-RISTR255-SHA512 of draft-irtf-cfrg-cpace-21, with key confirmation. */

import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha512 } from "@noble/hashes/sha2.js";

import { concat, isEqual, lvCat, utf8, wipe } from "./bytes.js";

type Point = InstanceType<typeof ristretto255.Point>;

const DSI = utf8("CPaceRistretto255");
/** The block of SHA-512, less one byte: the padding separates the secret from what follows (draft, 8.1). */
const BLOCK = 127;

/** A side's contribution, byte for byte as it was sent: its share and its associated data. */
export interface Side {
  readonly share: Uint8Array;
  readonly data: Uint8Array;
}

/** The generator of the draft's section 8.1. */
export function generator(password: Uint8Array, channel: Uint8Array, sessionId: Uint8Array): Point {
  const padding = new Uint8Array(Math.max(0, BLOCK - lvCat(password).length - lvCat(DSI).length));
  const text = lvCat(DSI, password, padding, channel, sessionId);
  const hash = sha512(text);
  const point = ristretto255_hasher.deriveToCurve?.(hash);
  wipe(text, hash);
  if (point === undefined) {
    throw new TypeError("the library maps 64 bytes to a point");
  }
  return point as Point;
}

/** A number modulo the group's order, from 64 random bytes, little-endian. */
export function scalar(random: Uint8Array): bigint {
  const value = random.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  return value % ristretto255.Point.Fn.ORDER;
}

/** A point's canonical encoding of 32 bytes; none if it is another string, or the identity. */
export function decode(bytes: Uint8Array): Point | undefined {
  try {
    const point = ristretto255.Point.fromBytes(bytes);
    return point.is0() ? undefined : point;
  } catch {
    return undefined;
  }
}

/** K, as its encoding; none if the other's share is invalid or K is the identity. */
export function agree(secret: bigint, share: Uint8Array): Uint8Array | undefined {
  const shared = decode(share)?.multiply(secret);
  return shared === undefined || shared.is0() ? undefined : shared.toBytes();
}

/** ISK for the order initiator, responder. */
export function sessionKey(sessionId: Uint8Array, k: Uint8Array, initiator: Side, responder: Side): Uint8Array {
  const label = concat(DSI, utf8("_ISK"));
  const text = lvCat(label, sessionId, k, initiator.share, initiator.data, responder.share, responder.data);
  const isk = sha512(text);
  wipe(text);
  return isk;
}

/** The confirmations of both sides. */
export class Confirmation {
  readonly #key: Uint8Array;

  constructor(sessionId: Uint8Array, isk: Uint8Array) {
    this.#key = sha512(concat(utf8("CPaceMac"), sessionId, isk));
  }

  /** A side's tag, 64 bytes. */
  tag(side: Side): Uint8Array {
    return hmac(sha512, this.#key, lvCat(side.share, side.data));
  }

  /** Whether the tag is that of the side. */
  verify(side: Side, tag: Uint8Array): boolean {
    return isEqual(this.tag(side), tag);
  }

  wipe(): void {
    wipe(this.#key);
  }
}
