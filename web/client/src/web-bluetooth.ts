/** A connection over Web Bluetooth. */

import { SERVICE } from "./endpoint.js";
import type { Connect, GattConnection } from "./gatt.js";

/** Asks the owner for a node; call it from a click. With a name, as the label has it, only that node is offered. */
export function requestNode(bluetooth: Bluetooth, name?: string): Promise<BluetoothDevice> {
  const filter: BluetoothLEScanFilter = name === undefined ? { services: [SERVICE] } : { services: [SERVICE], name };
  return bluetooth.requestDevice({ filters: [filter] });
}

/** Connects to a node that the owner chose. */
export function webBluetooth(device: BluetoothDevice): Connect {
  return async () => {
    const server = await device.gatt?.connect();
    const service = await server?.getPrimaryService(SERVICE);
    if (server === undefined || service === undefined) {
      throw new TypeError("the device has no GATT server");
    }
    return connection(device, server, service);
  };
}

function connection(
  device: BluetoothDevice,
  server: BluetoothRemoteGATTServer,
  service: BluetoothRemoteGATTService,
): GattConnection {
  return {
    // Browsers do not tell the MTU; the first notification does.
    valueLimit: undefined,
    async read(uuid) {
      return bytes(await (await service.getCharacteristic(uuid)).readValue());
    },
    async write(uuid, value) {
      await (await service.getCharacteristic(uuid)).writeValueWithResponse(value as Uint8Array<ArrayBuffer>);
    },
    async subscribe(uuid, onValue) {
      const characteristic = await service.getCharacteristic(uuid);
      characteristic.addEventListener("characteristicvaluechanged", () => {
        if (characteristic.value !== undefined) {
          onValue(bytes(characteristic.value));
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

/** A copy, because the browser may reuse the buffer. */
function bytes(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
}
