// Builds the site for Web Bluetooth from the setup page: the same document with its own head and with more in the first view.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { build } from "esbuild";

const TARGET = "dist/site";
const read = (name) => readFileSync(`site/${name}`);

// Where the site's parts go in the document of the page.
const PLACES = [
  [/<link rel="icon"[^]*<\/script>\n/, () => read("head.html")],
  [/(?= *<label for="digits")/, () => read("before-digits.html")],
  [/(?<=id="digits-error" hidden><\/p>\n)/, () => read("after-digits.html")],
  [/(?=<\/main>)/, () => read("views.html")],
  // The form is at the node.
  [/ In the device’s own Wi-Fi there is <a href="\/form">[^<]*<\/a>\./, () => ""],
];

// The files of the site by path. `write` fills the texts into a document.
export async function site(common, banner, write) {
  const bundled = async (options) => (await build({ ...common, legalComments: "none", ...options })).outputFiles[0].contents;
  const content = new Map([
    ["./", Buffer.from(document(write))],
    ["site.css", await bundled({ entryPoints: ["site/site.css"] })],
    ["site.js", await bundled({ entryPoints: ["site/main.ts"], banner })],
    ...["site.webmanifest", "icon.svg", "icon-192.png", "icon-512.png", "icon-maskable.png"].map((name) => [name, read(name)]),
  ]);
  const hashes = [...content].map(([path, bytes]) => [path, `sha256-${hash(bytes).toString("base64")}`]);
  const FILES = JSON.stringify(Object.fromEntries(hashes));
  const VERSION = JSON.stringify(hash(FILES).toString("hex").slice(0, 16));
  content.set("sw.js", await bundled({ entryPoints: ["site/worker.ts"], format: "iife", define: { FILES, VERSION } }));
  return [...content].map(([path, bytes]) => [`${TARGET}/${path === "./" ? "index.html" : path}`, bytes]);
}

function document(write) {
  const texts = { ...JSON.parse(readFileSync("page/texts.json", "utf8")), ...JSON.parse(read("texts.json")) };
  const page = PLACES.reduce(
    (html, [place, part]) => {
      if (!place.test(html)) {
        throw new Error(`page/index.html has no place ${place}`);
      }
      return html.replace(place, () => part().toString());
    },
    readFileSync("page/index.html", "utf8"),
  );
  return write(page, texts);
}

function hash(bytes) {
  return createHash("sha256").update(bytes).digest();
}
