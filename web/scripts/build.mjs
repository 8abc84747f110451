// Builds what is delivered into `dist/`: the client as one module, the setup page, compressed as the node sends it, and the site.
// With `--check` it fails if the files differ.

import { readFileSync, statSync } from "node:fs";

import { build } from "esbuild";

import { settle } from "./files.mjs";
import { site } from "./site.mjs";

/** The setup page, with everything that it loads, compressed; bytes. A phone in an access point loads it at once. */
const PAGE_LIMIT = 48 * 1024;

/** The licences of what the page's script contains; the client's module has their full comments. */
const LICENCES =
  "/* Contains @noble/curves, hashes, ciphers (MIT, (c) Paul Miller) and @bufbuild/protobuf (Apache-2.0 AND BSD-3-Clause) */";

const common = {
  bundle: true,
  minify: true,
  format: "esm",
  // Browsers since 2021: code for older ones would be larger and slower.
  target: ["chrome94", "firefox93", "safari15"],
  charset: "utf8",
  legalComments: "eof",
  write: false,
  logLevel: "warning",
};

const banner = { js: LICENCES };
const client = await build({ ...common, entryPoints: ["client/src/index.ts"] });
const script = await build({ ...common, legalComments: "none", banner, entryPoints: ["page/start.ts"] });
const style = await build({ ...common, entryPoints: ["page/page.css"] });

const page = [
  ["dist/page/index.html.gz", write(readFileSync("page/index.html", "utf8"), JSON.parse(readFileSync("page/texts.json", "utf8")))],
  ["dist/page/page.css.gz", style.outputFiles[0].text],
  ["dist/page/page.js.gz", script.outputFiles[0].text],
];
await settle(
  [["dist/jarvis-provisioning.js", client.outputFiles[0].text], ...page, ...(await site(common, banner, write))],
  "npm run build",
);

const weight = page.reduce((sum, [path]) => sum + statSync(path).size, 0);
console.log(`the page has ${weight} of ${PAGE_LIMIT} bytes`);
process.exitCode = weight > PAGE_LIMIT ? 1 : 0;

// A document with its English texts in place, so that it is readable before the script has run.
function write(source, texts) {
  return source.replace(/(data-t="([^"]+)"[^>]*>)(?=<)/g, (_, tag, key) => tag + texts[key][0]).replace(/\n\s+/g, "\n");
}
