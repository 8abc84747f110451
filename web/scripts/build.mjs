// Builds what is delivered into `dist/`: the client as one module. With `--check` it fails if the files differ.

import { build } from "esbuild";

import { settle } from "./files.mjs";

const common = {
  bundle: true,
  minify: true,
  format: "esm",
  // Browsers since 2021: the first with private methods, which are larger and slower when they are translated.
  target: ["chrome84", "firefox90", "safari15"],
  charset: "utf8",
  legalComments: "eof",
  write: false,
  logLevel: "warning",
};

const client = await build({ ...common, entryPoints: ["client/src/index.ts"] });

settle([["dist/jarvis-provisioning.js", client.outputFiles[0].text]], "npm run build");
