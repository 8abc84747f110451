/** Messages in GATT values: section "Framing" of the protocol. */

import { concat } from "./bytes.js";
import { ProvisioningError } from "./errors.js";

/** The largest value that is written or notified, bytes. */
export const VALUE_LIMIT = 495;
/** The smallest value that every link carries, bytes. */
export const VALUE_MINIMUM = 18;
/** The largest message from the node, bytes. */
export const OUTBOUND_LIMIT = 4096;

const FIRST = 0x80;
const INDEX = 0x3f;

/** Splits a message into values of at most `size` bytes; `size` is clamped to what every link carries and to the limit. */
export function frames(message: Uint8Array, size: number): Uint8Array[] {
  const room = Math.min(Math.max(size, VALUE_MINIMUM), VALUE_LIMIT);
  const head = Uint8Array.of(FIRST, message.length >> 8, message.length & 0xff);
  const all = [concat(head, message.subarray(0, room - head.length))];
  for (let offset = room - head.length; offset < message.length; offset += room - 1) {
    all.push(concat(Uint8Array.of(all.length & INDEX), message.subarray(offset, offset + room - 1)));
  }
  return all;
}

/** Reassembles the frames of one direction of one characteristic. It holds at most one message. */
export class Reassembler {
  readonly #limit: number;
  #partial: Uint8Array = new Uint8Array(0);
  /** Bytes of payload so far; none between messages. */
  #filled: number | undefined;
  #next = 0;

  /** Takes messages of up to `limit` bytes. */
  constructor(limit: number = OUTBOUND_LIMIT) {
    this.#limit = limit;
  }

  /**
   * Takes the next value; returns the message that it completes. An error discards the message, and the next first frame
   * starts another one.
   *
   * @throws {ProvisioningError} `Malformed` or `TooLarge`
   */
  push(value: Uint8Array): Uint8Array | undefined {
    const filled = this.#filled;
    this.#filled = undefined;
    const control = value[0];
    if (control === undefined || (control & ~(FIRST | INDEX)) !== 0) {
      throw new ProvisioningError("Malformed");
    }
    return (control & FIRST) === 0 ? this.#continue(filled, control & INDEX, value.subarray(1)) : this.#start(control, value);
  }

  #start(control: number, value: Uint8Array): Uint8Array | undefined {
    const [, high, low] = value;
    const length = high === undefined || low === undefined ? 0 : (high << 8) | low;
    if (length === 0 || (control & INDEX) !== 0) {
      throw new ProvisioningError("Malformed");
    }
    if (length > this.#limit) {
      throw new ProvisioningError("TooLarge");
    }
    this.#partial = new Uint8Array(length);
    this.#next = 0;
    return this.#take(0, value.subarray(3));
  }

  #continue(filled: number | undefined, index: number, payload: Uint8Array): Uint8Array | undefined {
    if (filled === undefined || index !== this.#next) {
      throw new ProvisioningError("Malformed");
    }
    return this.#take(filled, payload);
  }

  #take(filled: number, payload: Uint8Array): Uint8Array | undefined {
    const end = filled + payload.length;
    if (payload.length === 0 || end > this.#partial.length) {
      throw new ProvisioningError("Malformed");
    }
    this.#partial.set(payload, filled);
    if (end === this.#partial.length) {
      return this.#partial;
    }
    this.#filled = end;
    this.#next = (this.#next + 1) & INDEX;
    return undefined;
  }
}
