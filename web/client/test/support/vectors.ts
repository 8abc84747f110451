/** The vectors of the repository, which the core and a Python implementation compute, too. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The root of the checkout; the tests run in `web/`. */
export const ROOT = join(process.cwd(), "..");

export function read(name: string): any {
  return JSON.parse(readFileSync(join(ROOT, "tests/vectors", `${name}.json`), "utf8"));
}

export function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

export function hex(value: Uint8Array): string {
  return Buffer.from(value).toString("hex");
}
