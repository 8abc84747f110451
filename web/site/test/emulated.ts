/** A Bluetooth peripheral for Chromium, which leads to a simulated node: the DevTools domains `BluetoothEmulation` and `DeviceAccess`. */

import type { Browser, BrowserContext, CDPSession, Page } from "playwright-core";

import { ENDPOINTS, SERVICE } from "../../client/src/index.js";
import type { Endpoint, GattConnection } from "../../client/src/index.js";
import type { Node } from "../../client/test/support/programs.js";
import { simulated } from "../../client/test/support/simulated.js";

const ADDRESS = "0A:00:00:00:00:01";
/** The descriptor by which a phone subscribes. */
const CLIENT_CONFIGURATION = "00002902-0000-1000-8000-00805f9b34fb";
/** Limit of a wait, milliseconds; reached only by a failing test. */
const PATIENCE = 20_000;
const OK = 0;
/** ATT: unlikely error. HCI: connection failed to be established. */
const FAILED = { att: 0x0e, hci: 0x3e };
const PROPERTIES: Readonly<Record<Endpoint, { read?: boolean; write?: boolean; notify?: boolean }>> = {
  info: { read: true },
  session: { write: true },
  scan: { write: true },
  k2: { write: true },
  credentials: { write: true },
  status: { read: true, write: true, notify: true },
};

/** The emulated adapter of a browser, with one peripheral. */
export class Peripheral {
  /** Whether the node is out of range. */
  isAway = false;
  /** Values that the page has written, in order. */
  readonly written: Uint8Array[] = [];
  /** Called after each write, before it is acknowledged. */
  onWritten: (uuid: string) => Promise<void> = () => Promise.resolve();
  readonly #session: CDPSession;
  readonly #page: Page;
  readonly #node: Node;
  readonly #uuids = new Map<string, string>();
  #connection: GattConnection | undefined;
  /** Notifications arrive in their order. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(session: CDPSession, page: Page, node: Node) {
    [this.#session, this.#page, this.#node] = [session, page, node];
  }

  /** Puts a node within range of the page. */
  static async start(browser: Browser, page: Page, node: Node): Promise<Peripheral> {
    const session = await browser.newBrowserCDPSession();
    const peripheral = new Peripheral(session, page, node);
    session.on("BluetoothEmulation.gattOperationReceived", ({ type }) => void peripheral.#operate(type));
    session.on("BluetoothEmulation.characteristicOperationReceived", (operation) => void peripheral.#use(operation));
    await session.send("BluetoothEmulation.enable", { state: "powered-on", leSupported: true });
    await session.send("BluetoothEmulation.simulatePreconnectedPeripheral", {
      address: ADDRESS,
      name: node.name,
      manufacturerData: [],
      knownServiceUuids: [SERVICE],
    });
    return peripheral;
  }

  async stop(): Promise<void> {
    await this.#connection?.close();
    await this.#session.send("BluetoothEmulation.disable");
    await this.#session.detach();
  }

  /** Switches the phone's adapter on or off. */
  async switch(state: "powered-on" | "powered-off"): Promise<void> {
    await this.#session.send("BluetoothEmulation.setSimulatedCentralState", { state });
  }

  /** Loses the link, as when the node's radio restarts. DevTools' own disconnection does not reach the page. */
  async disconnect(): Promise<void> {
    await this.#connection?.close();
    this.#connection = undefined;
    await this.#page.evaluate("loseLink()");
  }

  async #operate(type: "connection" | "discovery"): Promise<void> {
    let code = OK;
    try {
      if (type === "discovery") {
        await this.#describe();
      } else {
        await this.#connect();
      }
    } catch {
      code = FAILED.hci;
    }
    await this.#session.send("BluetoothEmulation.simulateGATTOperationResponse", { address: ADDRESS, type, code });
  }

  async #connect(): Promise<GattConnection> {
    await this.#connection?.close();
    if (this.isAway) {
      throw new Error("the node is away");
    }
    this.#connection = await simulated(this.#node.socket)();
    return this.#connection;
  }

  /** The browser tells of the first connection and the first subscription only. */
  async #connectAgain(): Promise<GattConnection> {
    const connection = await this.#connect();
    await this.#subscribe(connection);
    return connection;
  }

  #subscribe(connection: GattConnection): Promise<void> {
    return connection.subscribe(ENDPOINTS.status.uuid, (value) => this.#notify(value));
  }

  /** Adds the node's service, when it is asked for the first time. */
  async #describe(): Promise<void> {
    if (this.#uuids.size > 0) {
      return;
    }
    const { serviceId } = await this.#session.send("BluetoothEmulation.addService", { address: ADDRESS, serviceUuid: SERVICE });
    for (const [endpoint, { uuid }] of Object.entries(ENDPOINTS)) {
      const { characteristicId } = await this.#session.send("BluetoothEmulation.addCharacteristic", {
        serviceId,
        characteristicUuid: uuid,
        properties: PROPERTIES[endpoint as Endpoint],
      });
      this.#uuids.set(characteristicId, uuid);
      if (endpoint === "status") {
        const descriptor = { characteristicId, descriptorUuid: CLIENT_CONFIGURATION };
        await this.#session.send("BluetoothEmulation.addDescriptor", descriptor);
      }
    }
  }

  async #use({ characteristicId, type, data }: Operation): Promise<void> {
    let answer: { code: number; data?: string } = { code: OK };
    try {
      const value = await this.#forward(this.#uuids.get(characteristicId) ?? "", type, Buffer.from(data ?? "", "base64"));
      answer = { code: OK, data: Buffer.from(value).toString("base64") };
    } catch {
      answer = { code: FAILED.att };
    }
    const response = { characteristicId, type, ...answer };
    // A link that was lost meanwhile takes no answer.
    await this.#session.send("BluetoothEmulation.simulateCharacteristicOperationResponse", response).catch(() => undefined);
  }

  async #forward(uuid: string, type: Operation["type"], value: Uint8Array): Promise<Uint8Array> {
    const connection = this.#connection ?? (await this.#connectAgain());
    if (type === "read") {
      return connection.read(uuid);
    }
    if (type === "write") {
      this.written.push(value);
      await connection.write(uuid, value);
      await this.onWritten(uuid);
    } else if (type === "subscribe-to-notifications") {
      await this.#subscribe(connection);
    }
    return new Uint8Array();
  }

  /** DevTools cannot notify, so {@link notifiable} does it in the page. */
  #notify(value: Uint8Array): void {
    this.#last = this.#last
      .then(() => this.#page.evaluate(`notified("${Buffer.from(value).toString("base64")}")`))
      // The page was left.
      .catch(() => undefined);
  }
}

interface Operation {
  readonly characteristicId: string;
  readonly type: "read" | "write" | "subscribe-to-notifications" | "unsubscribe-from-notifications";
  readonly data?: string;
}

/** Gives the pages of a context two functions: `notified` notifies what was subscribed last, and `loseLink` loses its link. */
export async function notifiable(context: BrowserContext): Promise<void> {
  await context.addInitScript(() => {
    let subscribed: BluetoothRemoteGATTCharacteristic | undefined;
    const Characteristic = (globalThis as { BluetoothRemoteGATTCharacteristic?: Function }).BluetoothRemoteGATTCharacteristic;
    if (Characteristic === undefined) {
      return;
    }
    const start = Characteristic.prototype.startNotifications;
    Characteristic.prototype.startNotifications = function (this: BluetoothRemoteGATTCharacteristic) {
      subscribed = this;
      return start.call(this);
    };
    Object.assign(globalThis, {
      loseLink: () => subscribed?.service.device.gatt?.disconnect(),
      notified(text: string) {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        Object.defineProperty(subscribed, "value", { value: new DataView(bytes.buffer), configurable: true });
        subscribed?.dispatchEvent(new Event("characteristicvaluechanged"));
        // The browser's own value is seen again.
        Reflect.deleteProperty(subscribed ?? {}, "value");
      },
    });
  });
}

/**
 * Answers the next request of a page for a device, which `act` makes: with the first one, or by closing the list. Returns how many
 * devices it lists.
 */
export async function prompted(page: Page, act: () => Promise<void>, isChosen = true, patience = PATIENCE): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("DeviceAccess.enable");
  const answered = new Promise<number>((resolve, reject) => {
    setTimeout(() => reject(new Error("the page asks for no device")), patience).unref();
    let isAnswered = false;
    session.on("DeviceAccess.deviceRequestPrompted", ({ id, devices }) => {
      const [first] = devices;
      // The prompt is repeated for each change of the list, but a second answer crashes the browser.
      if (isAnswered || (isChosen && first === undefined)) {
        return;
      }
      isAnswered = true;
      const answer = isChosen
        ? session.send("DeviceAccess.selectPrompt", { id, deviceId: first?.id ?? "" })
        : session.send("DeviceAccess.cancelPrompt", { id });
      answer.then(() => resolve(devices.length), reject);
    });
  });
  const [count] = await Promise.all([answered, act()]);
  await session.detach();
  return count;
}
