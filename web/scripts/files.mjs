// Files that are checked in beside their sources: written, or compared with `--check`.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { gunzipSync } from "node:zlib";

import { gzipAsync } from "@gfx/zopfli";

const isCheck = process.argv.includes("--check");

// Writes files by path, or fails if one differs. A path that ends with `.gz` is compressed; its content is compared, because
// compressors differ.
export async function settle(files, command) {
  const different = [...files].filter(([path, content]) => !existsSync(path) || !current(path).equals(Buffer.from(content)));
  if (!isCheck) {
    for (const [path, content] of different) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, path.endsWith(".gz") ? await gzipAsync(Buffer.from(content), {}) : content);
    }
  } else if (different.length > 0) {
    console.error(`${different.map(([path]) => path).join(", ")}: not what the sources give; run \`${command}\``);
    process.exit(1);
  }
}

function current(path) {
  const bytes = readFileSync(path);
  return path.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}
