/** Lies of a node that a seed determines. */

import type { Layer, Mangle } from "./node.js";

/** Numbers that a seed determines (mulberry32), so that a failure can be repeated. */
export function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export function mutated(original: Uint8Array, below: (limit: number) => number): Uint8Array | undefined {
  const place = below(original.length || 1);
  const copy = original.slice();
  switch (below(7)) {
    case 0:
      return undefined;
    case 1:
      return copy.subarray(0, place);
    case 2:
      return Uint8Array.from([...copy, ...Array.from({ length: 1 + below(40) }, () => below(256))]);
    case 3:
      return Uint8Array.from({ length: below(80) }, () => below(256));
    case 4:
      return Uint8Array.from([...copy.subarray(place), ...copy.subarray(0, place)]);
    case 5:
      copy[place] = below(256);
      return copy;
    default:
      copy[place] = (copy[place] ?? 0) ^ (1 << below(8));
      return copy;
  }
}

/** Changes the nth message of a layer, and perhaps those after it. */
export function liar(below: (limit: number) => number): Mangle {
  const layer = (["value", "outbound", "plaintext"] as const)[below(3)];
  const [first, isPersistent] = [below(layer === "value" ? 2 : 8), below(3) === 0];
  let count = -1;
  return (at: Layer, original) => {
    count += at === layer ? 1 : 0;
    return at === layer && (count === first || (isPersistent && count > first)) ? mutated(original, below) : original;
  };
}
