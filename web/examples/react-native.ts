/**
 * A phone with React Native and `react-native-ble-plx`: finds the node of the label, and brings it online.
 *
 * The app also imports `react-native-get-random-values` first, because the handshake needs `crypto.getRandomValues`.
 */

import type { AttemptOptions, Credentials, PlxDevice, Status } from "@jarvis/provisioning";
import { GattTransport, PairingSecret, Phone, SERVICE, blePlx } from "@jarvis/provisioning";

/** The largest value of the protocol and its ATT header, bytes. */
const MTU = 498;
/** How long to look for the node, milliseconds. */
const PATIENCE = 20_000;

/** The part of `BleManager` that is used. */
export interface Manager {
  startDeviceScan(services: string[], options: null, listener: (error: unknown, device: Found | null) => void): unknown;
  stopDeviceScan(): unknown;
  connectToDevice(
    id: string,
    options: { requestMTU: number },
  ): Promise<PlxDevice & { discoverAllServicesAndCharacteristics(): Promise<PlxDevice> }>;
}

interface Found {
  readonly id: string;
  /** The name in the advertisement. iOS caches another one. */
  readonly localName: string | null;
}

/** Waits for the node that advertises this name; any node if there is none. */
export function find(manager: Manager, name?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => finish(() => reject(new Error("no device was found"))), PATIENCE);
    const finish = (act: () => void) => {
      clearTimeout(timer);
      manager.stopDeviceScan();
      act();
    };
    manager.startDeviceScan([SERVICE], null, (error, device) => {
      if (error !== null) {
        finish(() => reject(error));
      } else if (device !== null && (name === undefined || device.localName === name)) {
        finish(() => resolve(device.id));
      }
    });
  });
}

/** Provisions the node whose label was scanned or typed. */
export async function provision(
  manager: Manager,
  label: string,
  credentials: Credentials,
  options: AttemptOptions,
): Promise<Status> {
  const secret = PairingSecret.parse(label);
  const id = await find(manager, secret.nodeName);
  const connect = async () => (await manager.connectToDevice(id, { requestMTU: MTU })).discoverAllServicesAndCharacteristics();
  const phone = new Phone(await GattTransport.open(blePlx(connect)));
  try {
    await phone.pair(secret);
    return await phone.bringOnline(credentials, options);
  } finally {
    await phone.close();
  }
}
