/** The package beside the core: what a seed makes of the inputs has the same meaning for both, and both have the same flows. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

import { HttpTransport, NetworkCare, PairingSecret, Phone, ProvisioningError, checkCredentials } from "../src/index.js";
import type { Credentials, Field } from "../src/index.js";
import { generator } from "./support/liar.js";
import { Node, PROGRAMS, missingPrograms } from "./support/programs.js";

const skip = missingPrograms();
const RUNS = Number(process.env["CORE_RUNS"] ?? 200);

/** What texts are made of: letters of every length in UTF-8, and what some grammar treats apart. */
const LETTERS = [..."aZ09._-~/:@?#%[]\\ \t\n\u0000\u007f\u0085\u00a0\u2028äé日😀"];
/** The node refuses control characters in a password when it has seen the network, and these networks are not there. */
const PRINTABLE = LETTERS.filter((letter) => !/[\u0000-\u001f\u007f-\u009f]/.test(letter));
/** The largest length that some grammar allows of each field, bytes; lengths near to it are the likely mistakes. */
const LIMITS: Partial<Record<Field, number>> = {
  ssid: 32,
  passphrase: 128,
  room: 512,
  householdId: 512,
  nodeId: 64,
  provisioningToken: 512,
  provisionCode: 16,
};

type Below = (limit: number) => number;

function pick<Item>(items: readonly Item[], below: Below): Item {
  return items[below(items.length)] as Item;
}

/** A text of few different letters, short or near to a limit. */
function text(limit: number, below: Below, from = LETTERS): string {
  const letters = Array.from({ length: 1 + below(3) }, () => pick(from, below));
  const length = below(2) === 0 ? below(12) : Math.max(0, limit - 2 + below(5));
  return Array.from({ length }, () => pick(letters, below)).join("");
}

function url(below: Below): string {
  const scheme = pick(["http://", "https://", "HTTP://", "ftp://", "http:/", ""], below);
  const host = pick(["a", "center.example", "192.168.1.1", "127.1", "[fd00::1]", "ä", "A.b", "user@a", text(20, below)], below);
  const port = pick(["", ":80", ":443", ":8080", ":0", ":99999", ":", ":x"], below);
  return scheme + host + port + pick(["", "/", "/a/b", "/a//", "/./a", "/%41", "?a", "#", `/${text(20, below)}`], below);
}

/** Credentials of which one field is made by chance; a network that is not there is refused last. */
function made(below: Below): [field: Field, wanted: Credentials] {
  const valid: Credentials = {
    requestId: (BigInt(1 + below(0x7fff_ffff)) << 32n) | BigInt(below(0xffff_ffff)),
    ssid: Uint8Array.from({ length: 1 + below(32) }, () => below(256)),
    passphrase: "password",
    commandCenterUrl: "http://center.example",
    nodeId: "node",
    provisioningToken: "token",
    householdId: "home",
    room: "kitchen",
  };
  const field = pick([...(Object.keys(LIMITS) as Field[]), "commandCenterUrl", "configServiceUrl"] as const, below);
  const limit = LIMITS[field];
  const from = field === "passphrase" ? PRINTABLE : LETTERS;
  return [field, { ...valid, [field]: limit === undefined ? url(below) : text(limit, below, from) }];
}

test("what a phone sends is read as it is meant, and refused if it says so before", { skip, timeout: 120_000 }, async () => {
  const node = await Node.start();
  try {
    const phone = new Phone(new HttpTransport(node.url, { pause: 5 }));
    await phone.pair(PairingSecret.parse(node.code));
    const verdicts = new Set<string>();
    for (let seed = 0; seed < RUNS; seed += 1) {
      const [field, wanted] = made(generator(seed));
      const context = `seed ${seed}: ${field} ${JSON.stringify(wanted[field])}`;
      const expected = Object.values(checkCredentials(wanted))[0];
      const ended = await phone.bringOnline(wanted).catch((error: unknown) => error);
      if (ended instanceof ProvisioningError) {
        assert.equal(ended.name, expected, context);
      } else {
        const { ssid, requestId, fault } = ended as Awaited<ReturnType<Phone["bringOnline"]>>;
        assert.deepEqual([expected, fault?.name], [undefined, "NetworkNotFound"], context);
        // What the node has read comes back in its own encoding.
        const sent = typeof wanted.ssid === "string" ? new TextEncoder().encode(wanted.ssid) : wanted.ssid;
        assert.deepEqual([Buffer.from(ssid), requestId], [Buffer.from(sent), wanted.requestId], context);
      }
      verdicts.add(expected ?? "accepted");
    }
    assert.ok(verdicts.has("accepted") && verdicts.size > 8, [...verdicts].join());
    await phone.close();
  } finally {
    await node.stop();
  }
});

/** The commands of a program's help. */
function commands(...args: string[]): string[] {
  const { stdout } = spawnSync(join(PROGRAMS, "jarvis-phone"), [...args, "--help"], { encoding: "utf8" });
  const list = /^Commands:\n([^]*?)\n\n/m.exec(stdout)?.[1] ?? "";
  return [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name]) => name ?? "").filter((name) => name !== "help");
}

test("every flow of jarvis-phone is one of the package", { skip }, () => {
  const phone = Phone.prototype;
  const flows: Record<string, unknown> = {
    info: phone.info,
    scan: phone.scan,
    provision: phone.bringOnline,
    status: phone.status,
    cancel: phone.cancel,
    care: NetworkCare,
  };
  // The one that is for a shell only.
  assert.deepEqual(
    commands().filter((name) => name !== "completions"),
    Object.keys(flows),
  );
  assert.ok(Object.values(flows).every((flow) => typeof flow === "function"));
  const care = commands("care");
  assert.ok(care.length > 0);
  assert.deepEqual(
    care.filter((name) => !(name in NetworkCare.prototype)),
    [],
  );
});
