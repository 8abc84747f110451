/** A connection over Web Bluetooth. */

import { isEqual } from "./bytes.js";
import { SERVICE } from "./endpoint.js";
import type { Connect, GattConnection } from "./gatt.js";
import { systemClock } from "./transport.js";
import type { Clock } from "./transport.js";

/** How long a browser may take to connect, milliseconds. Some wait for ever for a device that is out of range. */
const CONNECT_LIMIT = 30_000;

/** Asks the owner for a node; call it from a click. With a name, as the label has it, only that node is offered. */
export function requestNode(bluetooth: Bluetooth, name?: string): Promise<BluetoothDevice> {
  const filter: BluetoothLEScanFilter = name === undefined ? { services: [SERVICE] } : { services: [SERVICE], name };
  return bluetooth.requestDevice({ filters: [filter] });
}

/** Connects to a node that the owner chose. */
export function webBluetooth(device: BluetoothDevice, clock: Clock = systemClock): Connect {
  return async () => {
    const server = await connected(device, clock);
    const service = await server?.getPrimaryService(SERVICE);
    if (server === undefined || service === undefined) {
      throw new TypeError("the device does not connect");
    }
    return connection(device, server, service);
  };
}

async function connected(device: BluetoothDevice, clock: Clock): Promise<BluetoothRemoteGATTServer | undefined> {
  const end = new AbortController();
  const late = clock.sleep(CONNECT_LIMIT, end.signal).then(() => undefined);
  try {
    const server = await Promise.race([device.gatt?.connect(), late]);
    if (server === undefined) {
      device.gatt?.disconnect();
    }
    return server;
  } finally {
    end.abort();
  }
}

function connection(
  device: BluetoothDevice,
  server: BluetoothRemoteGATTServer,
  service: BluetoothRemoteGATTService,
): GattConnection {
  const values = new Notified();
  return {
    // Browsers do not tell the MTU; the first notification does.
    valueLimit: undefined,
    async read(uuid) {
      const characteristic = await service.getCharacteristic(uuid);
      return values.duringRead(async () => bytes(await characteristic.readValue()));
    },
    async write(uuid, value) {
      await (await service.getCharacteristic(uuid)).writeValueWithResponse(value as Uint8Array<ArrayBuffer>);
    },
    async subscribe(uuid, onValue) {
      const characteristic = await service.getCharacteristic(uuid);
      values.deliver = onValue;
      characteristic.addEventListener("characteristicvaluechanged", () => {
        if (characteristic.value !== undefined) {
          values.push(bytes(characteristic.value));
        }
      });
      await characteristic.startNotifications();
    },
    closed(onClosed) {
      device.addEventListener("gattserverdisconnected", onClosed, { once: true });
    },
    close() {
      server.disconnect();
      return Promise.resolve();
    },
  };
}

/** The notified values. Browsers fire the event of a notification for a read, too, so the value of a read is taken out. */
class Notified {
  deliver: (value: Uint8Array) => void = () => undefined;
  /** Values that arrive during a read; none between reads. */
  #held: Uint8Array[] | undefined;

  push(value: Uint8Array): void {
    if (this.#held === undefined) {
      this.deliver(value);
    } else {
      this.#held.push(value);
    }
  }

  async duringRead(read: () => Promise<Uint8Array>): Promise<Uint8Array> {
    this.#held = [];
    let own: Uint8Array | undefined;
    try {
      own = await read();
      return own;
    } finally {
      const held = this.#held;
      this.#held = undefined;
      const index = held.findIndex((value) => own !== undefined && isEqual(value, own));
      held.filter((_, other) => other !== index).forEach((value) => this.deliver(value));
    }
  }
}

/** A copy, because the browser may reuse the buffer. */
function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
}
