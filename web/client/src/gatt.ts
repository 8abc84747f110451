/** Framed messages over GATT, for any Bluetooth library: sections "Endpoints" and "Framing" of the protocol. */

import { ENDPOINTS } from "./endpoint.js";
import type { Readable, Writable } from "./endpoint.js";
import { ProvisioningError } from "./errors.js";
import { Reassembler, VALUE_LIMIT, frames } from "./framing.js";
import type { Transport } from "./transport.js";

/** The value that every ATT MTU carries, bytes: that of 23, less the header. */
const SMALLEST_VALUE = 20;

/** One open connection to a node, as a Bluetooth library offers it. UUIDs are lower case. */
export interface GattConnection {
  /** The ATT MTU less 3, bytes; none if the library does not tell. */
  readonly valueLimit: number | undefined;
  /** Reads a characteristic to its end. */
  read(characteristic: string): Promise<Uint8Array>;
  /** Writes a value with response, and not as a long write. */
  write(characteristic: string, value: Uint8Array): Promise<void>;
  /** Enables notifications; `onValue` gets each value in order. */
  subscribe(characteristic: string, onValue: (value: Uint8Array) => void): Promise<void>;
  /** Calls `onClosed` when the connection is lost. */
  closed(onClosed: () => void): void;
  /** Disconnects. */
  close(): Promise<void>;
}

/** Connects to the same node each time. */
export type Connect = () => Promise<GattConnection>;

/** A link over Bluetooth. */
export class GattTransport implements Transport {
  readonly #connect: Connect;
  #connection: GattConnection | undefined;
  #valueLimit = SMALLEST_VALUE;
  #messages: Uint8Array[] = [];
  #failure: ProvisioningError | undefined;
  #wake: () => void = () => undefined;
  /** Ends the calls of a connection that is lost: not every library does. */
  #lost: Promise<never> = new Promise(() => undefined);
  #lose: (failure: ProvisioningError) => void = () => undefined;

  private constructor(connect: Connect) {
    this.#connect = connect;
  }

  /** Connects to a node, and subscribes to its messages. */
  static async open(connect: Connect): Promise<GattTransport> {
    const transport = new GattTransport(connect);
    await transport.reconnect();
    return transport;
  }

  read(endpoint: Readable): Promise<Uint8Array> {
    return this.#use((connection) => connection.read(ENDPOINTS[endpoint].uuid));
  }

  write(endpoint: Writable, message: Uint8Array): Promise<void> {
    return this.#use(async (connection) => {
      for (const frame of frames(message, this.#valueLimit)) {
        await connection.write(ENDPOINTS[endpoint].uuid, frame);
      }
    });
  }

  async receive(signal: AbortSignal): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined || signal.aborted) {
        return message;
      }
      if (this.#failure !== undefined) {
        throw this.#failure;
      }
      await new Promise<void>((resolve) => {
        this.#wake = () => {
          signal.removeEventListener("abort", this.#wake);
          resolve();
        };
        signal.addEventListener("abort", this.#wake);
      });
    }
  }

  async reconnect(): Promise<void> {
    await this.close();
    let connection: GattConnection;
    try {
      connection = await this.#connect();
    } catch (error) {
      throw named(error);
    }
    const reassembler = new Reassembler();
    this.#connection = connection;
    this.#failure = undefined;
    this.#messages = [];
    this.#lost = new Promise((_, reject) => (this.#lose = reject));
    this.#lost.catch(() => undefined);
    this.#valueLimit = Math.min(connection.valueLimit ?? SMALLEST_VALUE, VALUE_LIMIT);
    connection.closed(() => this.#fail(connection, new ProvisioningError("LinkLost")));
    await this.#use(() => connection.subscribe(ENDPOINTS.status.uuid, (value) => this.#notified(connection, reassembler, value)));
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    // A connection that is lost already cannot be closed.
    await connection?.close().catch(() => undefined);
  }

  #notified(connection: GattConnection, reassembler: Reassembler, value: Uint8Array): void {
    if (connection !== this.#connection) {
      return;
    }
    // A value of that length fits into the MTU, which not every library tells.
    this.#valueLimit = Math.min(Math.max(this.#valueLimit, value.length), VALUE_LIMIT);
    try {
      const message = reassembler.push(value);
      if (message !== undefined) {
        this.#messages.push(message);
        this.#wake();
      }
    } catch (error) {
      this.#fail(connection, named(error));
    }
  }

  #fail(connection: GattConnection, failure: ProvisioningError): void {
    if (connection === this.#connection) {
      this.#failure ??= failure;
      this.#wake();
      this.#lose(failure);
    }
  }

  async #use<Result>(act: (connection: GattConnection) => Promise<Result>): Promise<Result> {
    if (this.#connection === undefined) {
      throw new ProvisioningError("LinkLost");
    }
    try {
      return await Promise.race([act(this.#connection), this.#lost]);
    } catch (error) {
      throw named(error);
    }
  }
}

/** Libraries have many errors, and a phone has one answer to them: to connect again. */
function named(error: unknown): ProvisioningError {
  return error instanceof ProvisioningError ? error : new ProvisioningError("LinkLost");
}
