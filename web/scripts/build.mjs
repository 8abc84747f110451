// Builds what is delivered into `dist/`: the client as one module, the setup page, compressed as the node sends it, and the site.
// With `--check` it fails if the files differ.

import { readFileSync, statSync } from "node:fs";

import { build } from "esbuild";

import { settle } from "./files.mjs";
import { TARGET as FORM, texts as formTexts } from "./form.mjs";
import { lean, withoutLogins } from "./lean.mjs";
import { site } from "./site.mjs";

/** The setup page, with everything that it loads, compressed; bytes. A phone in an access point loads it at once. */
const PAGE_LIMIT = 48 * 1024;
/** The same for the page of network care, which also uses the style of the setup page. */
const CARE_LIMIT = 16 * 1024;

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
  plugins: [lean()],
  legalComments: "eof",
  write: false,
  logLevel: "warning",
};

const banner = { js: LICENCES };
const client = await build({ ...common, entryPoints: ["client/src/index.ts"] });
const script = await build({
  ...common,
  plugins: [...common.plugins, withoutLogins()],
  legalComments: "none",
  banner,
  entryPoints: ["page/start.ts"],
});
const style = await build({ ...common, entryPoints: ["page/page.css"] });

const careScript = await build({ ...common, entryPoints: ["page/care/main.ts"] });
const careStyle = await build({ ...common, entryPoints: ["page/care/care.css"] });

const page = [
  ["dist/page/index.html.gz", html("page")],
  ["dist/page/page.css.gz", style.outputFiles[0].text],
  ["dist/page/page.js.gz", script.outputFiles[0].text],
];
const care = [
  ["dist/page/care.html.gz", html("page/care")],
  ["dist/page/care.css.gz", careStyle.outputFiles[0].text],
  ["dist/page/care.js.gz", careScript.outputFiles[0].text],
];
await settle(
  [
    ["dist/jarvis-provisioning.js", client.outputFiles[0].text],
    ...page,
    ...care,
    ...(await site(common, banner, write)),
    [FORM, formTexts()],
  ],
  "npm run build",
);

weigh("setup page", page, PAGE_LIMIT);
weigh("page of network care", care, CARE_LIMIT);

function weigh(name, files, limit) {
  const weight = files.reduce((sum, [path]) => sum + statSync(path).size, 0);
  console.log(`the ${name} has ${weight} of ${limit} bytes`);
  if (weight > limit) {
    process.exitCode = 1;
  }
}

function html(folder) {
  return write(readFileSync(`${folder}/index.html`, "utf8"), JSON.parse(readFileSync(`${folder}/texts.json`, "utf8")));
}

// A document with its English texts in place, so that it is readable before the script has run.
function write(source, texts) {
  return source.replace(/(data-t="([^"]+)"[^>]*>)(?=<)/g, (_, tag, key) => tag + texts[key][0]).replace(/\n\s+/g, "\n");
}
