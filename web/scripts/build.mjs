// Builds what is delivered into `dist/`: the client as one module. With `--check` it fails if the files differ.

import { build } from "esbuild";

import { settle } from "./files.mjs";

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

await settle([["dist/jarvis-provisioning.js", client.outputFiles[0].text]], "npm run build");
