// Builds what is delivered into `dist/`: the client as one module, and the setup page, compressed as the node sends it.
// With `--check` it fails if the files differ.

import { readFileSync, statSync } from "node:fs";

import { build } from "esbuild";

import { settle } from "./files.mjs";

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

const client = await build({ ...common, entryPoints: ["client/src/index.ts"] });
const script = await build({ ...common, legalComments: "none", banner: { js: LICENCES }, entryPoints: ["page/start.ts"] });
const style = await build({ ...common, entryPoints: ["page/page.css"] });

const page = [
  ["dist/page/index.html.gz", html()],
  ["dist/page/page.css.gz", style.outputFiles[0].text],
  ["dist/page/page.js.gz", script.outputFiles[0].text],
];
await settle([["dist/jarvis-provisioning.js", client.outputFiles[0].text], ...page], "npm run build");

const weight = page.reduce((sum, [path]) => sum + statSync(path).size, 0);
console.log(`the page has ${weight} of ${PAGE_LIMIT} bytes`);
process.exitCode = weight > PAGE_LIMIT ? 1 : 0;

// The page with its English texts in place, so that it is readable before the script has run.
function html() {
  const texts = JSON.parse(readFileSync("page/texts.json", "utf8"));
  const source = readFileSync("page/index.html", "utf8");
  return source.replace(/(data-t="([^"]+)"[^>]*>)(?=<)/g, (_, tag, key) => tag + texts[key][0]).replace(/\n\s+/g, "\n");
}
