// Builds what is delivered into `dist/`: the client as one module, the setup page, compressed as the node sends it, and the site.
// With `--check` it fails if the files differ.

import { readFileSync, statSync } from "node:fs";

import { build } from "esbuild";

import { settle } from "./files.mjs";
import { TARGET as FORM, texts as formTexts } from "./form.mjs";
import { faults, lean, leanLibraries } from "./lean.mjs";
import { site } from "./site.mjs";

/** The setup page, with everything that it loads, compressed; bytes. A phone in an access point loads it at once. */
const PAGE_LIMIT = 48 * 1024;
/** The form for enterprise networks, which the page loads when one is chosen. */
const ENTERPRISE_LIMIT = 5 * 1024;
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
  plugins: [lean(), parts()],
  legalComments: "eof",
  write: false,
  logLevel: "warning",
};

/** The first fault of logins to enterprise networks. The page loads their texts with the form for such a login. */
const FIRST_OF_LOGINS = 80;

const banner = { js: LICENCES };
const client = await build({ ...common, entryPoints: ["client/src/index.ts"] });
/** Kinds of requests and replies of network care and of Improv, which the setup page does not use. */
const OTHERS = ["care", "authorize", "done", "careStatus", "saved", "diagnosis", "events"];
const small = { ...common, plugins: [lean({ without: OTHERS }), leanLibraries(), parts()], legalComments: "none" };
const script = await build({
  ...small,
  plugins: [...small.plugins, faults((number) => number < FIRST_OF_LOGINS), apart("./enterprise.js")],
  banner,
  entryPoints: ["page/start.ts"],
});
const enterprise = await build({
  ...small,
  plugins: [...small.plugins, faults((number) => number >= FIRST_OF_LOGINS)],
  entryPoints: ["page/enterprise.ts"],
});
const style = await build({ ...common, entryPoints: ["page/page.css"] });

const careScript = await build({ ...common, entryPoints: ["page/care/main.ts"] });
const careStyle = await build({ ...common, entryPoints: ["page/care/care.css"] });

const page = [
  ["dist/page/index.html.gz", html("page")],
  ["dist/page/page.css.gz", style.outputFiles[0].text],
  ["dist/page/page.js.gz", script.outputFiles[0].text],
];
const login = [["dist/page/enterprise.js.gz", enterprise.outputFiles[0].text]];
const care = [
  ["dist/page/care.html.gz", html("page/care")],
  ["dist/page/care.css.gz", careStyle.outputFiles[0].text],
  ["dist/page/care.js.gz", careScript.outputFiles[0].text],
];
await settle(
  [
    ["dist/jarvis-provisioning.js", client.outputFiles[0].text],
    ...page,
    ...login,
    ...care,
    ...(await site(common, banner, write)),
    [FORM, formTexts()],
  ],
  "npm run build",
);

weigh("setup page", page, PAGE_LIMIT);
weigh("form for enterprise networks", login, ENTERPRISE_LIMIT);
weigh("page of network care", care, CARE_LIMIT);

function weigh(name, files, limit) {
  const weight = files.reduce((sum, [path]) => sum + statSync(path).size, 0);
  console.log(`the ${name} has ${weight} of ${limit} bytes`);
  if (weight > limit) {
    process.exitCode = 1;
  }
}

// Parts of documents are texts in the scripts.
function parts() {
  const load = ({ path }) => ({ loader: "text", contents: outdent(readFileSync(path, "utf8")) });
  return { name: "parts", setup: ({ onLoad }) => onLoad({ filter: /\.html$/ }, load) };
}

function outdent(document) {
  return document.replace(/\n\s+/g, "\n");
}

// Leaves a module that a script imports when it is needed to the browser.
function apart(path) {
  const resolve = ({ kind }) => (kind === "dynamic-import" ? { path, external: true } : undefined);
  return { name: "apart", setup: ({ onResolve }) => onResolve({ filter: /\/enterprise\.js$/ }, resolve) };
}

function html(folder) {
  return write(readFileSync(`${folder}/index.html`, "utf8"), JSON.parse(readFileSync(`${folder}/texts.json`, "utf8")));
}

// A document with its English texts in place, so that it is readable before the script has run.
function write(source, texts) {
  return outdent(source.replace(/(data-t="([^"]+)"[^>]*>)(?=<)/g, (_, tag, key) => tag + texts[key][0]));
}
