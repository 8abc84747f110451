/** The programs of this repository: a simulated node, and a command center to register it. */

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { ROOT } from "./vectors.js";

const TARGET = process.env["CARGO_TARGET_DIR"] ?? join(ROOT, "target");
const ADMINISTRATOR = "the key of the administrator";
/** Limit of every wait, milliseconds; reached only by a failing test. */
const PATIENCE = 60_000;

/** A folder with the programs is a condition of these tests: CI has one. */
export const PROGRAMS: string = join(TARGET, "debug");

/** Why these tests cannot run here; false if they can. CI fails instead. */
export function missingPrograms(): string | false {
  const isThere = ["jarvis-provision", "jarvis-command-center"].every((name) => existsSync(join(PROGRAMS, name)));
  if (!isThere && process.env["CI"] !== undefined) {
    throw new Error(`CI has the programs in ${PROGRAMS}`);
  }
  return isThere ? false : `SKIPPED: build the programs first; ${PROGRAMS} has none`;
}

/** What an owner's app orders at the command center before an attempt. */
export interface Order {
  readonly commandCenterUrl: string;
  readonly nodeId: string;
  readonly provisioningToken: string;
  readonly householdId: string;
}

/** A node that waits for a phone. */
export class Node {
  readonly url: string;
  readonly socket: string;
  readonly name: string;
  readonly code: string;
  readonly qr: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(process: ChildProcess, folder: string, ready: any, label: any) {
    this.#process = process;
    this.#folder = folder;
    this.url = `http://${ready.listening}`;
    this.socket = ready.ble_sim;
    this.name = ready.name;
    this.code = label.code;
    this.qr = label.pairing_qr;
  }

  static async start(settings = ""): Promise<Node> {
    const folder = mkdtempSync(join(tmpdir(), "jarvis-web-"));
    const path = (name: string) => join(folder, name);
    writeFileSync(path("settings.toml"), settings);
    const env = {
      HOME: folder,
      JARVIS_SECRET_DIRECTORY: path("secrets"),
      CONFIG_PATH: path("config.json"),
      JARVIS_NODE_DB: path("node.db"),
      JARVIS_CLAIM_DIRECTORY: path("msp"),
      JARVIS_PROVISIONING_PORT: "0",
      JARVIS_PROVISION_CONFIG: path("settings.toml"),
    };
    const program = join(PROGRAMS, "jarvis-provision");
    const started = spawn(program, ["run", "--simulate"], { env, cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
    const ready = JSON.parse(await firstLine(started));
    const label = spawnSync(program, ["label", "--json"], { env, cwd: folder, encoding: "utf8" });
    return new Node(started, folder, ready, JSON.parse(label.stdout));
  }

  async stop(): Promise<void> {
    await end(this.#process);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A command center with a database of its own. */
export class Center {
  readonly #url: string;
  readonly #process: ChildProcess;
  readonly #folder: string;

  private constructor(process: ChildProcess, folder: string, url: string) {
    this.#process = process;
    this.#folder = folder;
    this.#url = url;
  }

  static async start(): Promise<Center> {
    const folder = mkdtempSync(join(tmpdir(), "jarvis-web-"));
    const args = ["--database", `sqlite:${join(folder, "center.db")}`, "serve", "--listen", "127.0.0.1:0"];
    const env = { HOME: folder, ADMIN_API_KEY: ADMINISTRATOR };
    const program = join(PROGRAMS, "jarvis-command-center");
    const started = spawn(program, args, { env, cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    const { listening } = JSON.parse(await firstLine(started)) as { listening: string };
    return new Center(started, folder, `http://${listening}`);
  }

  /** Orders a node for the household `home`. */
  async order(): Promise<Order> {
    const response = await fetch(`${this.#url}/api/v0/provisioning/token`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": ADMINISTRATOR },
      body: JSON.stringify({ household_id: "home", room: "kitchen" }),
    });
    const { token, node_id } = (await response.json()) as { token: string; node_id: string };
    return { commandCenterUrl: this.#url, nodeId: node_id, provisioningToken: token, householdId: "home" };
  }

  async stop(): Promise<void> {
    await end(this.#process);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function firstLine(process: ChildProcess): Promise<string> {
  if (process.stdout === null) {
    throw new Error("standard output is a pipe");
  }
  const lines = createInterface({ input: process.stdout });
  const timer = setTimeout(() => process.kill("SIGKILL"), PATIENCE);
  try {
    for await (const line of lines) {
      return line;
    }
  } finally {
    clearTimeout(timer);
    process.stdout.resume();
  }
  throw new Error("the program exits before it is ready");
}

async function end(process: ChildProcess): Promise<void> {
  if (process.exitCode === null && process.signalCode === null) {
    const ended = new Promise((resolve) => process.once("exit", resolve));
    process.kill("SIGTERM");
    await ended;
  }
}
