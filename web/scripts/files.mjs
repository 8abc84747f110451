// Files that are checked in beside their sources: written, or compared with `--check`.

import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";

import { gzipAsync } from "@gfx/zopfli";

const isCheck = process.argv.includes("--check");

// Writes files by path, and removes others in `folder`, or fails if something differs. A path that ends with `.gz` is compressed; its
// content is compared, because compressors differ.
export async function settle(folder, files, command) {
  const different = files.filter(([path, content]) => !existsSync(path) || !current(path).equals(Buffer.from(content)));
  const others = present(folder).filter((path) => files.every(([known]) => known !== path));
  if (!isCheck) {
    others.forEach((path) => rmSync(path));
    for (const [path, content] of different) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, path.endsWith(".gz") ? await gzipAsync(Buffer.from(content), {}) : content);
    }
  } else if (different.length + others.length > 0) {
    console.error(`${[...different.map(([path]) => path), ...others].join(", ")}: not what the sources give; run \`${command}\``);
    process.exit(1);
  }
}

function present(folder) {
  const entries = existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [];
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
}

function current(path) {
  const bytes = readFileSync(path);
  return path.endsWith(".gz") ? gunzipSync(bytes) : bytes;
}
