/** The adapters of Bluetooth libraries, against stand-ins that lead to a simulated node, and the documented examples. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { buildSync } from "esbuild";

import { find, provision } from "../../examples/react-native.js";
import type { Manager } from "../../examples/react-native.js";
import {
  ENDPOINTS,
  GattTransport,
  PairingSecret,
  Phone,
  ProvisioningError,
  SERVICE,
  newRequestId,
  requestNode,
  webBluetooth,
} from "../src/index.js";
import type { GattConnection, PlxCharacteristic, PlxDevice } from "../src/index.js";
import { VirtualClock } from "./support/clock.js";
import { Center, Node, missingPrograms } from "./support/programs.js";
import { simulated } from "./support/simulated.js";
import { ROOT } from "./support/vectors.js";

const skip = missingPrograms();

async function scene(act: (node: Node, center: Center) => Promise<void>): Promise<void> {
  const [node, center] = [await Node.start(), await Center.start()];
  try {
    await act(node, center);
  } finally {
    await Promise.all([node.stop(), center.stop()]);
  }
}

/** A device of `react-native-ble-plx`, as far as it is used. It sends its requests one after the other. */
function plxDevice(connection: GattConnection): PlxDevice {
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(act: () => Promise<Result>): Promise<Result> => {
    const turn = last.then(act);
    last = turn.catch(() => undefined);
    return turn;
  };
  return {
    mtu: (connection.valueLimit ?? 20) + 3,
    async readCharacteristicForService(service, uuid) {
      assert.equal(service, SERVICE);
      return { value: Buffer.from(await inTurn(() => connection.read(uuid))).toString("base64") };
    },
    writeCharacteristicWithResponseForService: (_service, uuid, value) =>
      inTurn(() => connection.write(uuid, Buffer.from(value, "base64"))),
    monitorCharacteristicForService(_service, uuid, listener) {
      const onValue = (value: Uint8Array) =>
        listener(null, { value: Buffer.from(value).toString("base64") } satisfies PlxCharacteristic);
      void inTurn(() => connection.subscribe(uuid, onValue));
      return { remove: () => undefined };
    },
    onDisconnected(listener) {
      connection.closed(listener);
      return { remove: () => undefined };
    },
    cancelConnection: () => connection.close(),
  };
}

/** The manager of that library; the address of a device is the path of its socket. */
function plx(node: Node): Manager {
  return {
    startDeviceScan: (_services, _options, listener) => {
      listener(null, { id: "other", localName: "jarvis-00000000" });
      listener(null, { id: node.socket, localName: node.name });
    },
    stopDeviceScan: () => undefined,
    async connectToDevice(id) {
      const connected = plxDevice(await simulated(id)());
      return { ...connected, discoverAllServicesAndCharacteristics: () => Promise.resolve(connected) };
    },
  };
}

/** Web Bluetooth, as far as it is used. */
function bluetooth(node: Node): { bluetooth: Bluetooth; asked: RequestDeviceOptions[] } {
  const asked: RequestDeviceOptions[] = [];
  const device = Object.assign(new EventTarget(), {
    gatt: {
      async connect() {
        const connection = await simulated(node.socket)();
        connection.closed(() => device.dispatchEvent(new Event("gattserverdisconnected")));
        const characteristics = Object.values(ENDPOINTS).map(({ uuid }) => [uuid, characteristic(connection, uuid)] as const);
        const known = new Map<string, unknown>(characteristics);
        const service = { getCharacteristic: (uuid: string) => Promise.resolve(known.get(uuid)) };
        return { getPrimaryService: () => Promise.resolve(service), disconnect: () => void connection.close() };
      },
    },
  });
  const requestDevice = (options: RequestDeviceOptions) => {
    asked.push(options);
    return Promise.resolve(device);
  };
  return { bluetooth: { requestDevice } as unknown as Bluetooth, asked };
}

function characteristic(connection: GattConnection, uuid: string): EventTarget {
  const view = (value: Uint8Array) => new DataView(value.buffer, value.byteOffset, value.byteLength);
  const target = Object.assign(new EventTarget(), {
    value: undefined as DataView | undefined,
    async readValue() {
      // As in browsers: a read fires the event of notifications.
      target.value = view(await connection.read(uuid));
      target.dispatchEvent(new Event("characteristicvaluechanged"));
      return target.value;
    },
    writeValueWithResponse: (value: Uint8Array) => connection.write(uuid, value),
    startNotifications: () =>
      connection.subscribe(uuid, (value) => {
        target.value = view(value);
        target.dispatchEvent(new Event("characteristicvaluechanged"));
      }),
  });
  return target;
}

test("the example of React Native provisions the node of the label", { skip }, () =>
  scene(async (node, center) => {
    const credentials = {
      ...(await center.order()),
      requestId: newRequestId(),
      ssid: "Lighthouse",
      passphrase: "correct horse battery",
    };
    assert.equal(await find(plx(node), node.name), node.socket);
    assert.equal((await provision(plx(node), node.qr, credentials, {})).state, "PROVISIONED");
  }),
);

test("a node is provisioned over Web Bluetooth", { skip }, () =>
  scene(async (node, center) => {
    const browser = bluetooth(node);
    const device = await requestNode(browser.bluetooth, node.name);
    assert.deepEqual(browser.asked, [{ filters: [{ services: [SERVICE], name: node.name }] }]);
    const phone = new Phone(await GattTransport.open(webBluetooth(device)));
    assert.equal((await phone.publicStatus()).state, "AP_MODE");
    await phone.pair(PairingSecret.parse(node.code));
    assert.equal((await phone.publicStatus()).state, "AP_MODE");
    assert.ok((await phone.scan()).length > 0);
    const credentials = {
      ...(await center.order()),
      requestId: newRequestId(),
      ssid: "Lighthouse",
      passphrase: "correct horse battery",
    };
    assert.equal((await phone.bringOnline(credentials)).state, "PROVISIONED");
    await phone.close();
  }),
);

test("a browser that never finishes connecting is a lost link", async () => {
  let disconnects = 0;
  const gatt = { connect: () => new Promise(() => undefined), disconnect: () => (disconnects += 1) };
  const device = { gatt } as unknown as BluetoothDevice;
  const error = await GattTransport.open(webBluetooth(device, new VirtualClock())).catch((reason: unknown) => reason);
  assert.ok(error instanceof ProvisioningError);
  assert.deepEqual([error.name, disconnects], ["LinkLost", 1]);
});

test("a write that a library leaves open ends with its connection", async () => {
  let lose = () => undefined as void;
  const connection: GattConnection = {
    valueLimit: 20,
    read: () => Promise.resolve(new Uint8Array()),
    write: () => new Promise(() => undefined),
    subscribe: () => Promise.resolve(),
    closed: (onClosed) => (lose = onClosed),
    close: () => Promise.resolve(),
  };
  const transport = await GattTransport.open(() => Promise.resolve(connection));
  const written = transport.write("session", Uint8Array.of(1)).catch((reason: unknown) => reason);
  lose();
  const error = await written;
  assert.ok(error instanceof ProvisioningError);
  assert.equal(error.name, "LinkLost");
});

test("the example over HTTP provisions a node, and prints no secret", { skip }, () =>
  scene(async (node, center) => {
    buildSync({ entryPoints: ["examples/node.ts"], bundle: true, platform: "node", format: "esm", outfile: "build/example.mjs" });
    const order = await center.order();
    const env = {
      JARVIS_NODE: node.url,
      JARVIS_CODE: node.code,
      JARVIS_SSID: "Lighthouse",
      JARVIS_PASSPHRASE: "correct horse battery",
      JARVIS_CENTER: order.commandCenterUrl,
      JARVIS_ORDER: JSON.stringify({ node_id: order.nodeId, token: order.provisioningToken }),
    };
    const { stdout, stderr, status } = spawnSync(process.execPath, ["build/example.mjs"], {
      env,
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.deepEqual([status, stderr], [0, ""]);
    assert.match(stdout, /^network: HomeNetwork, -45 dBm$/m);
    assert.match(stdout, /^accepted$[^]*^PROVISIONED 100 %\nPROVISIONED$/m);
    for (const secret of [node.code, "correct horse", order.provisioningToken]) {
      assert.ok(!stdout.includes(secret));
    }
  }),
);

test("the quick start quotes the example over HTTP", () => {
  const document = readFileSync(join(ROOT, "docs/phone-quickstart.md"), "utf8");
  const quoted = /^```typescript\n([^]*?)^```$/m.exec(document)?.[1] ?? "";
  assert.ok(quoted.split("\n").length > 10);
  assert.ok(readFileSync("examples/node.ts", "utf8").endsWith(quoted), "examples/node.ts ends with the quotation");
});
