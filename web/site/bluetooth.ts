/** A link to the node that the owner chooses. */

import { GattTransport, ProvisioningError, webBluetooth } from "../client/src/index.js";
import type { Readable, Transport, Writable } from "../client/src/index.js";

/** A link over Web Bluetooth that has no node at first. Until one is chosen, every use fails like a lost link. */
export class ChosenNode implements Transport {
  #device: BluetoothDevice | undefined;
  #link: GattTransport | undefined;

  /** The device that was chosen last. */
  get device(): BluetoothDevice | undefined {
    return this.#device;
  }

  /** Whether the link to it is open. */
  get isConnected(): boolean {
    return this.#link !== undefined && this.#device?.gatt?.connected === true;
  }

  /** Takes another device, which is connected by {@link reconnect}. */
  async choose(device: BluetoothDevice): Promise<void> {
    await this.close();
    this.#device = device;
    this.#link = undefined;
  }

  async reconnect(): Promise<void> {
    if (this.#link !== undefined) {
      await this.#link.reconnect();
    } else if (this.#device !== undefined) {
      this.#link = await GattTransport.open(webBluetooth(this.#device));
    } else {
      throw new ProvisioningError("LinkLost");
    }
  }

  async read(endpoint: Readable): Promise<Uint8Array> {
    return this.#open().read(endpoint);
  }

  async write(endpoint: Writable, message: Uint8Array): Promise<void> {
    await this.#open().write(endpoint, message);
  }

  async receive(signal: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#open().receive(signal);
  }

  async close(): Promise<void> {
    await this.#link?.close();
  }

  #open(): GattTransport {
    if (this.#link === undefined) {
      throw new ProvisioningError("LinkLost");
    }
    return this.#link;
  }
}
