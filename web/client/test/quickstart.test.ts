/** The commands of docs/phone-quickstart.md, as somebody enters them. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { PROGRAMS, missingPrograms } from "./support/programs.js";
import { ROOT } from "./support/vectors.js";

const skip = missingPrograms();
/** Limit of a script, milliseconds. */
const PATIENCE = 120_000;
const DOCUMENT = readFileSync(join(ROOT, "docs/phone-quickstart.md"), "utf8");
/** What is there already when the tests run. */
const PREPARED = /^(cargo build|cd web) .*\n/m;

/** The commands of each block, without what they print. */
const [node = "", run = "", typescript = ""] = [...DOCUMENT.matchAll(/^```console\n([^]*?)^```$/gm)].map(([, block = ""]) =>
  [...block.matchAll(/^\$ ((?:.*\\\n)*.*\n)/gm)]
    .map(([, command]) => command)
    .join("")
    .replace(PREPARED, ""),
);

/** In place of the prompts. */
const SECRETS = `export JARVIS_PAIRING_CODE=$(jarvis-provision label --json | node -p 'JSON.parse(fs.readFileSync(0)).code')
export JARVIS_WIFI_PASSWORD='correct horse battery'
`;

/** The next command comes when a program in the background has said that it is ready. */
function inTurn(script: string): string {
  return script.replace(/^(.*) &$/gm, 'exec {output}< <($1) && read -r -u "$output"');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs commands in a folder and at ports of their own; returns what they print. */
async function enter(...scripts: readonly string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "jarvis-web-"));
  const [nodePort, centerPort] = [await freePort(), await freePort()];
  const script = inTurn(scripts.join(""))
    .replaceAll("/tmp/", `${folder}/`)
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${nodePort}`)
    .replaceAll("127.0.0.1:7703", `127.0.0.1:${centerPort}`);
  const path = `${PROGRAMS}:${process.env["PATH"]}`;
  const env = { PATH: path, HOME: folder, JARVIS_PROVISIONING_PORT: String(nodePort), JARVIS_NODE_DB: join(folder, "node.db") };
  // A group of its own, with the programs in the background.
  const shell = spawn("bash", ["-euo", "pipefail", "-c", script], { env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const said: Buffer[] = [];
  shell.stdout.on("data", (part: Buffer) => said.push(part));
  shell.stderr.on("data", (part: Buffer) => said.push(part));
  const stop = () => {
    try {
      process.kill(-(shell.pid as number), "SIGTERM");
    } catch {
      // None of them is left.
    }
  };
  const timer = setTimeout(stop, PATIENCE);
  try {
    const code = await new Promise((resolve) => shell.once("exit", resolve));
    assert.equal(code, 0, Buffer.concat(said).toString());
    return Buffer.concat(said).toString();
  } finally {
    clearTimeout(timer);
    stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

test("the commands that show a complete run end with a device that is online", { skip }, async () => {
  const said = await enter(node, SECRETS, run);
  assert.match(said, /^Provisioned\. The device is /m);
});

test("the commands for TypeScript bring a device online", { skip }, async () => {
  const center = run.split("\n").filter((line) => line.endsWith(" &"));
  const said = await enter(node, `${center.join("\n")}\n`, typescript);
  assert.match(said, /^PROVISIONED$/m);
});
