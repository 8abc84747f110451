// Generates the types of the messages from `proto/`. With `--check` it fails if the files differ.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { settle } from "./files.mjs";

const TARGET = "client/src/generated";
// Static code for each message: reflection would weigh more than all the rest of the client.
const OPTIONS = [
  "env=browser",
  "enumsAsLiterals=true",
  "esModuleInterop=true",
  "forceLong=bigint",
  "importSuffix=.js",
  "oneof=unions-value",
  "outputJsonMethods=false",
  "outputPartialMethods=false",
  "removeEnumPrefix=true",
];
// A phone encodes some messages and decodes others. In modules of their own, a bundler leaves out those of a direction that nothing uses.
const DIRECTIONS = ["encode", "decode"];
const output = mkdtempSync(join(tmpdir(), "jarvis-web-"));
try {
  const plugins = DIRECTIONS.map((direction) => ({
    local: resolve("node_modules/.bin/protoc-gen-ts_proto"),
    out: join(output, direction),
    opt: [...OPTIONS, `outputEncodeMethods=${direction}-only`],
  }));
  const template = JSON.stringify({ version: "v2", plugins });
  execFileSync(resolve("node_modules/.bin/buf"), ["generate", "../proto", "--path", "../proto/jarvis", "--template", template], {
    stdio: "inherit",
  });
  const names = readdirSync(output, { recursive: true }).filter((name) => name.endsWith(".ts"));
  await settle(
    TARGET,
    names.map((name) => [join(TARGET, name), readFileSync(join(output, name))]),
    "npm run generate",
  );
} finally {
  rmSync(output, { recursive: true, force: true });
}
