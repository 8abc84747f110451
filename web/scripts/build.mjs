// Builds what is delivered into `dist/`: the client as one module, the setup page, compressed as the node sends it, and the site.
// With `--check` it fails if the files differ.

import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";

import { build } from "esbuild";

import { settle } from "./files.mjs";
import { TARGET as FORM, texts as formTexts } from "./form.mjs";
import { site } from "./site.mjs";
import { SHOWN, columns, minified, quiet } from "./small.mjs";

/** The setup page, with everything that it loads, compressed; bytes. A phone in an access point loads it at once. */
const PAGE_LIMIT = 48 * 1024;
/** The same for the page of network care, which also loads the style of the setup page and, for an owner with the code, its script. */
const CARE_LIMIT = 16 * 1024;

/** The licences of what the page's script contains; the client's module has their full comments. */
const LICENCES =
  "/* Contains @noble/curves, hashes, ciphers (MIT, (c) Paul Miller) and @bufbuild/protobuf (Apache-2.0 AND BSD-3-Clause) */";

/** The link to the style of the setup page, which the page of network care and the form without a script load, too. */
const STYLE = '<link rel="stylesheet" href="/page.css">';

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

const style = (await bundled("page/page.css")).trim();
const page = [
  // The style is in the document, so that it is painted before anything else is loaded.
  ["dist/page/index.html.gz", html("page").replace(STYLE, () => `<style>${style}</style>`)],
  ["dist/page/page.js.gz", await small("page/start.ts", LICENCES)],
];
const shared = [
  ["dist/page/page.css.gz", style],
  ["dist/page/style.hash", `sha256-${createHash("sha256").update(style).digest("base64")}`],
];
const care = [
  ["dist/page/care.html.gz", html("page/care")],
  ["dist/page/care.css.gz", await bundled("page/care/care.css")],
  ["dist/page/care.js.gz", await small("page/care/main.ts")],
];
await settle(
  "dist",
  [
    ["dist/jarvis-provisioning.js", await bundled("client/src/index.ts")],
    ...page,
    ...shared,
    ...care,
    ...(await site(common, { js: LICENCES }, write)),
    [FORM, formTexts()],
  ],
  "npm run build",
);

weigh("setup page", page, PAGE_LIMIT);
weigh("page of network care", care, CARE_LIMIT);

async function bundled(path, options = {}) {
  const { outputFiles } = await build({ ...common, ...options, entryPoints: [path] });
  return outputFiles[0].text;
}

// The script of a document in the same folder.
async function small(path, preamble) {
  const document = readFileSync(`${dirname(path)}/index.html`, "utf8");
  const options = { plugins: [columns(document), quiet()], legalComments: "none", external: ["/page.js"] };
  return minified(await bundled(path, options), preamble);
}

function weigh(name, files, limit) {
  const weight = files.reduce((sum, [path]) => sum + statSync(path).size, 0);
  console.log(`the ${name} has ${weight} of ${limit} bytes`);
  if (weight > limit) {
    process.exitCode = 1;
  }
}

function outdent(document) {
  return document.replace(/\n\s+/g, "\n");
}

function html(folder) {
  return write(readFileSync(`${folder}/index.html`, "utf8"), JSON.parse(readFileSync(`${folder}/texts.json`, "utf8")));
}

// A document with its English texts in place, so that it is readable before the script has run.
function write(source, texts) {
  return outdent(source.replace(SHOWN, (_, tag, key) => tag + texts[key][0]));
}
