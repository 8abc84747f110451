/** The whole flow against the programs of this repository: a simulated node, over HTTP and over framed Bluetooth values. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import {
  ENDPOINTS,
  GattTransport,
  HttpTransport,
  NetworkCare,
  PairingSecret,
  Phone,
  ProvisioningError,
  checkCredentials,
  checkEnterprise,
  faultName,
  newRequestId,
} from "../src/index.js";
import type { Credentials, Enterprise, Progress } from "../src/index.js";
import { decodeList, decodeOutbound } from "../src/messages.js";
import type { Transport } from "../src/transport.js";
import { Center, Node, missingPrograms } from "./support/programs.js";
import type { Order } from "./support/programs.js";
import { simulated } from "./support/simulated.js";
import { bytes, read } from "./support/vectors.js";

const PASSWORD = "correct horse battery";
const skip = missingPrograms();

let center: Center;
before(async () => {
  if (skip === false) {
    center = await Center.start();
  }
});
after(async () => {
  await center?.stop();
});

const LINKS: Record<string, (node: Node) => Promise<Transport>> = {
  HTTP: (node) => Promise.resolve(new HttpTransport(node.url, { pause: 20 })),
  Bluetooth: (node) => GattTransport.open(simulated(node.socket)),
};

function credentials(order: Order, passphrase: string, ssid = "Lighthouse"): Credentials {
  return { ...order, requestId: newRequestId(), ssid, passphrase, room: "kitchen" };
}

async function use(
  link: (node: Node) => Promise<Transport>,
  act: (phone: Phone, node: Node) => Promise<void>,
  settings = "",
): Promise<void> {
  const node = await Node.start(settings);
  try {
    const phone = new Phone(await link(node));
    await act(phone, node);
    await phone.close();
  } finally {
    await node.stop();
  }
}

async function nameOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof ProvisioningError, String(error));
    return error.name;
  }
  return undefined;
}

async function provision(phone: Phone, node: Node): Promise<void> {
  const info = await phone.info();
  assert.deepEqual([info.name, info.state, (await phone.publicStatus()).state], [node.name, "AP_MODE", "AP_MODE"]);
  await phone.pair(PairingSecret.parse(node.code));
  const networks = await phone.scan();
  const strongest = networks[0];
  assert.ok(strongest);
  assert.deepEqual([Buffer.from(strongest.ssid).toString(), strongest.signalDbm, strongest.security], ["HomeNetwork", -45, "WPA2"]);
  await phone.sendK2({ key: crypto.getRandomValues(new Uint8Array(32)), kid: "k2-web", createdAt: new Date().toISOString() });
  const order = await center.order();
  const seen: Progress[] = [];
  const onProgress = (progress: Progress) => seen.push(progress);
  const refused = await phone.bringOnline(credentials(order, "not the password"), { onProgress });
  assert.deepEqual([refused.state, refused.fault?.name, refused.retryable], ["ERROR", "WrongPassword", true]);
  const done = await phone.bringOnline(credentials(order, PASSWORD), { onProgress });
  assert.deepEqual([done.state, done.percent, done.fault], ["PROVISIONED", 100, undefined]);
  assert.equal(seen[0]?.kind, "accepted");
  assert.ok(seen.some((progress) => progress.kind === "status" && progress.status.state === "REGISTERING"));
  assert.equal((await phone.status()).state, "PROVISIONED");
  assert.equal((await phone.info()).nodeId, order.nodeId);
}

for (const [name, link] of Object.entries(LINKS)) {
  test(`a node is provisioned over ${name}, after a wrong password`, { skip }, () => use(link, provision));

  test(`the QR code pairs over ${name}`, { skip }, () =>
    use(link, async (phone, node) => {
      const secret = PairingSecret.parse(node.qr);
      assert.equal(secret.nodeName, node.name);
      await phone.pair(secret);
      assert.equal((await phone.status()).state, "AP_MODE");
    }),
  );

  test(`a wrong code is named over ${name}, and the right one works afterwards`, { skip }, () =>
    use(link, async (phone, node) => {
      const wrong = node.code === "000000" ? "000001" : "000000";
      assert.equal(await nameOf(phone.pair(PairingSecret.parse(wrong))), "WrongCode");
      await phone.pair(PairingSecret.parse(node.code));
      assert.ok((await phone.scan()).length > 0);
    }),
  );

  test(`a login joins an enterprise network over ${name}, and each refusal has its name`, { skip }, () =>
    use(link, async (phone, node) => {
      await phone.pair(PairingSecret.parse(node.code));
      const office = (await phone.scan()).find(({ security }) => security === "ENTERPRISE");
      assert.ok(office);
      const order = await center.order();
      const login: Enterprise = {
        method: "TTLS_PAP",
        identity: "anna@office.example",
        password: PASSWORD,
        domain: "office.example",
      };
      const join = async (enterprise: Enterprise, ssid: Uint8Array | string = office.ssid) => {
        const wanted = { ...credentials(order, ""), ssid, enterprise };
        const expected = Object.values(checkEnterprise(enterprise))[0];
        const outcome = await phone.bringOnline(wanted).catch((error: ProvisioningError) => error);
        const name = outcome instanceof ProvisioningError ? outcome.name : (outcome.fault?.name ?? outcome.state);
        assert.ok(expected === undefined || name === expected, `the node says ${name}, and the check ${expected}`);
        return name;
      };
      const { password: _password, ...others } = login;
      const large = new Uint8Array(8192);
      large.set([0x30, 0x82, 0x1f, 0xfc, 2, 1, 3, 0x30]);
      const refused: readonly (readonly [Enterprise, string])[] = [
        [{ ...login, identity: "" }, "InvalidIdentity"],
        [{ ...login, password: "" }, "InvalidEnterprise"],
        [{ ...login, domain: "a b" }, "InvalidDomain"],
        [{ ...login, domain: "" }, "ServerUnverifiable"],
        [{ ...login, authority: Uint8Array.of(1) }, "InvalidAuthority"],
        [{ ...others, method: "TLS", certificate: Uint8Array.of(1), certificatePassword: "p" }, "InvalidCertificate"],
        [{ ...login, password: "another" }, "LoginRefused"],
        [{ ...others, method: "TLS", certificate: large, certificatePassword: "p" }, "CertificateRefused"],
      ];
      for (const [wrong, fault] of refused) {
        assert.equal(await join(wrong), fault);
      }
      assert.equal(await join(login, "Lighthouse"), "NotEnterprise");
      assert.equal(await join(login), "PROVISIONED");
    }),
  );

  test(`an attempt is cancelled over ${name}, and the next one succeeds`, { skip }, () =>
    use(link, async (phone, node) => {
      await phone.pair(PairingSecret.parse(node.code));
      const order = await center.order();
      // Nothing answers there, so that the node tries to register until it is told to stop.
      const lost = { ...credentials(order, PASSWORD), commandCenterUrl: "http://127.0.0.1:9" };
      const cancel = new AbortController();
      const onProgress = (progress: Progress) => {
        if (progress.kind === "status" && progress.status.state === "REGISTERING") {
          cancel.abort();
        }
      };
      const ended = await phone.bringOnline(lost, { cancel: cancel.signal, onProgress });
      assert.deepEqual([ended.state, ended.fault?.name], ["ERROR", "Cancelled"]);
      assert.equal((await phone.bringOnline(credentials(order, PASSWORD))).state, "PROVISIONED");
    }),
  );

  test(`a node that is online already is enrolled without a network over ${name}`, { skip }, () =>
    use(link, async (phone, node) => {
      await phone.pair(PairingSecret.parse(node.code));
      const wanted = { ...credentials(await center.order(), "", ""), requestId: newRequestId() };
      assert.deepEqual(checkCredentials(wanted), {});
      const outcome = await phone.bringOnline(wanted);
      assert.equal(outcome.fault?.name ?? outcome.state, "PROVISIONED");
    }),
  );

  test(`network care serves a phone over ${name}`, { skip, timeout: 60_000 }, () =>
    use(
      link,
      async (phone, node) => {
        await provision(phone, node);
        const care = new NetworkCare(phone);
        // Until then provisioning has the radio, and nothing is checked.
        await care.recover();
        while (!(await care.status()).connected) {
          await delay(50);
        }
        assert.ok((await care.saved()).some(({ active }) => active));
        assert.deepEqual(
          (await care.diagnose()).map((layer) => layer.name),
          ["radio", "association", "address", "gateway", "dns", "internet", "clock", "command_center"],
        );
        assert.equal(await nameOf(care.join("Nowhere")), "NetworkNotFound");
        assert.equal(await nameOf(care.recover()), "InProgress", "it cools down");
        await care.hotspot(true);
        assert.ok((await care.status()).hotspot);
        const { events, gap } = await care.events();
        const opened = events.find(({ action, phase }) => action === "hotspot.enable" && phase === "completed");
        assert.ok(opened && !gap, JSON.stringify(events));
        assert.ok((await care.events(opened.id)).events.every(({ id }) => id > opened.id));
        assert.equal(await nameOf(care.connect("Lighthouse", "not the password")), "WrongPassword");
        await care.connect("Lighthouse", PASSWORD);
        const { code, modules } = await care.label();
        assert.deepEqual([code, modules.length], [node.code, modules[0]?.length]);
        await care.reset();
        assert.equal((await phone.status()).state, "AP_MODE");
      },
      "[care]\nenabled = true\n",
    ),
  );

  test(`faults of the network arrive by name over ${name}`, { skip }, () =>
    use(link, async (phone, node) => {
      await phone.pair(PairingSecret.parse(node.code));
      const order = await center.order();
      for (const fault of ["NetworkNotFound", "UnsupportedSecurity", "NoAddress", "RadioBlocked"]) {
        const status = await phone.bringOnline(credentials(order, PASSWORD, `Sim-${fault}`));
        assert.equal(status.fault?.name, fault);
      }
      assert.equal(await nameOf(phone.bringOnline({ ...credentials(order, PASSWORD), nodeId: "not valid" })), "InvalidNodeId");
      assert.equal(await nameOf(phone.cancel(1n)), "NoAttempt");
    }),
  );
}

test("a node is provisioned with the smallest MTU", { skip }, () =>
  use((node) => GattTransport.open(simulated(node.socket)), provision, "simulated_mtu = 23\n"),
);

test("an attempt is followed while the node cannot be reached for a while", { skip }, async () => {
  const node = await Node.start();
  try {
    let [unreachable, isLost] = [0, false];
    const phone = new Phone(
      new HttpTransport(node.url, {
        pause: 20,
        fetch: async (url, init) => {
          if (unreachable > 0) {
            unreachable -= 1;
            throw new TypeError("fetch failed");
          }
          const response = await fetch(url, init);
          if (!url.endsWith("/api/v1/provision") || isLost) {
            return response;
          }
          // The first answer is lost: the access point has closed.
          isLost = true;
          unreachable = 4;
          throw new TypeError("fetch failed");
        },
      }),
    );
    await phone.pair(PairingSecret.parse(node.code));
    const seen: string[] = [];
    const wanted = credentials(await center.order(), PASSWORD);
    const onProgress = ({ kind }: Progress) => seen.push(kind);
    // The node would tell another phone to wait for longer than this.
    const ended = await phone.bringOnline(wanted, { onProgress, patience: 30_000 });
    assert.deepEqual([ended.state, ended.requestId], ["PROVISIONED", wanted.requestId]);
    assert.ok(seen.includes("lost") && seen.includes("back"));
    await phone.close();
  } finally {
    await node.stop();
  }
});

/** Values at the edges of the grammars, and beyond. */
const VALUES: Record<string, readonly string[]> = {
  ssid: ["Sim-RadioBlocked", "", "x".repeat(32), "x".repeat(33), "ä".repeat(16), "ä".repeat(17)],
  // The protection of the network decides on the rest, once the node has seen it.
  passphrase: ["password", "1234567", "x".repeat(64), "0".repeat(64), "x".repeat(128), "x".repeat(129), "ä".repeat(65), "pässword"],
  room: ["", "kitchen", "Küche", "x".repeat(512), "x".repeat(513), "a\u0007", "a\u0085", "a\u2028"],
  householdId: ["", "home", "x".repeat(512), "ä".repeat(257), "a\n"],
  nodeId: ["node", "A-z_0.9", "", "x".repeat(64), "x".repeat(65), "a b", "ä", "a/b"],
  provisioningToken: ["token", "", "x".repeat(512), "x".repeat(513), "a b", "a\u0000"],
  provisionCode: [
    "",
    "ABCD1234EFGH5678",
    "abcd-1234-efgh-5678",
    "OSIRIS://abcd1234efgh5678",
    "ABCD1234EFGH567",
    "ABCD1234EFGH567ä",
  ],
  configServiceUrl: ["", "https://config.example/a/b/", "config.example", "http://config.example?x"],
  commandCenterUrl: [
    "http://center.example",
    "HTTPS://Center.Example:443/",
    "http://center.example:80",
    "http://192.168.1.1:7703/a/b",
    "http://[fd00::1]:8080",
    "",
    "center.example",
    "ftp://center.example",
    "http:/center.example",
    "http://center.example?x=1",
    "http://center.example/#",
    "http://user@center.example",
    "http://center.example:99999",
    "http://center.example/a b",
    "http://center.example/../a",
    "http://center.example\\\\a",
    "http://cänter.example",
    "http://127.1",
    " http://center.example",
    "http://center.example/\u00e4",
    "http://center.example/%7e",
    "http://center.example/@a",
    "http://exa mple",
    "http://[::1",
    "http://",
    `http://a/${"x".repeat(510)}`,
  ],
};

test("the node refuses exactly what the checks of inputs refuse", { skip }, () =>
  use(LINKS["HTTP"]!, async (phone, node) => {
    await phone.pair(PairingSecret.parse(node.code));
    const valid = credentials(await center.order(), "password", "Sim-RadioBlocked");
    for (const [field, values] of Object.entries(VALUES)) {
      for (const value of values) {
        const wanted = { ...valid, requestId: newRequestId(), [field]: value };
        const expected = Object.values(checkCredentials(wanted))[0];
        const context = `${field} ${JSON.stringify(value)}`;
        const refused = await nameOf(phone.bringOnline(wanted).then(({ fault }) => assert.ok(fault, context)));
        assert.equal(refused, expected, context);
      }
    }
  }),
);

test("another phone is told that the node is busy", { skip }, () =>
  use(LINKS["HTTP"]!, async (phone, node) => {
    await phone.pair(PairingSecret.parse(node.code));
    await phone.status();
    const other = new Phone(new HttpTransport(node.url));
    assert.equal(await nameOf(other.pair(PairingSecret.parse(node.code))), "Busy");
    await other.close();
  }),
);

test("too many wrong codes lock the node, and the QR code still works", { skip }, () =>
  use(LINKS["HTTP"]!, async (phone, node) => {
    const wrong = node.code === "000000" ? "000001" : "000000";
    for (let guess = 0; guess < 5; guess += 1) {
      assert.equal(await nameOf(phone.pair(PairingSecret.parse(wrong))), "WrongCode");
    }
    const error = await phone.pair(PairingSecret.parse(node.code)).catch((reason: unknown) => reason);
    assert.ok(error instanceof ProvisioningError);
    assert.equal(error.name, "Locked");
    assert.ok(error.retryAfterSeconds > 0 && error.retryAfterSeconds <= 60);
    await phone.pair(PairingSecret.parse(node.qr));
    assert.equal((await phone.status()).state, "AP_MODE");
  }),
);

test("the node refuses the openings of the vectors by their faults", { skip }, async () => {
  const node = await Node.start();
  try {
    for (const { name, open, fault } of read("session").node_refuses) {
      const headers = { "content-type": "application/x-protobuf" };
      const response = await fetch(node.url + ENDPOINTS.session.path, {
        method: "POST",
        headers,
        body: bytes(open) as Uint8Array<ArrayBuffer>,
      });
      const [message] = decodeList(new Uint8Array(await response.arrayBuffer())).map(decodeOutbound);
      assert.equal(message?.kind === "refusal" ? faultName(message.fault) : message?.kind, fault, name);
    }
  } finally {
    await node.stop();
  }
});
