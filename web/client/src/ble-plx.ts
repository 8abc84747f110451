/** A connection over `react-native-ble-plx`. The interfaces below are the part of that library that is used. */

import { base64Decode, base64Encode } from "@bufbuild/protobuf/wire";

import { SERVICE } from "./endpoint.js";
import type { Connect } from "./gatt.js";

/** A subscription of the library. */
export interface PlxSubscription {
  remove(): void;
}

/** A characteristic of the library; values are base64. */
export interface PlxCharacteristic {
  readonly value: string | null;
}

/** A device of the library, connected and with its services discovered. */
export interface PlxDevice {
  /** The negotiated ATT MTU. */
  readonly mtu: number;
  readCharacteristicForService(service: string, characteristic: string): Promise<PlxCharacteristic>;
  writeCharacteristicWithResponseForService(service: string, characteristic: string, value: string): Promise<unknown>;
  monitorCharacteristicForService(
    service: string,
    characteristic: string,
    listener: (error: unknown, characteristic: PlxCharacteristic | null) => void,
  ): PlxSubscription;
  onDisconnected(listener: () => void): PlxSubscription;
  cancelConnection(): Promise<unknown>;
}

/** The header of a value in an ATT packet, bytes. */
const ATT_HEADER = 3;

/** Connects by `device`, which connects, requests an MTU of 498 or more, and discovers the services. See `examples/react-native.ts`. */
export function blePlx(device: () => Promise<PlxDevice>): Connect {
  return async () => {
    const plx = await device();
    const subscriptions: PlxSubscription[] = [];
    return {
      valueLimit: plx.mtu - ATT_HEADER,
      async read(uuid) {
        return base64Decode((await plx.readCharacteristicForService(SERVICE, uuid)).value ?? "");
      },
      async write(uuid, value) {
        await plx.writeCharacteristicWithResponseForService(SERVICE, uuid, base64Encode(value));
      },
      subscribe(uuid, onValue) {
        const listener = (error: unknown, characteristic: PlxCharacteristic | null) => {
          if (error === null && characteristic !== null) {
            onValue(base64Decode(characteristic.value ?? ""));
          }
        };
        // The library does not tell when notifications are enabled; it sends its requests one after the other.
        subscriptions.push(plx.monitorCharacteristicForService(SERVICE, uuid, listener));
        return Promise.resolve();
      },
      closed(onClosed) {
        subscriptions.push(plx.onDisconnected(onClosed));
      },
      async close() {
        subscriptions.forEach((subscription) => subscription.remove());
        await plx.cancelConnection();
      },
    };
  };
}
