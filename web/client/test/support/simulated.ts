/** The simulated Bluetooth link: section "The simulated link" of the protocol. */

import { connect } from "node:net";
import type { Socket } from "node:net";

import { concat } from "../../src/bytes.js";
import type { Connect } from "../../src/gatt.js";

const ADVERTISEMENT = 0x81;
const MTU = 0x03;
const NOTIFICATION = 0x1b;
const ERROR = 0x01;
const ANSWERS = { read: 0x0d, done: 0x13 };
const REQUESTS = { subscribe: 0x80, read: 0x0c, write: 0x12 };

interface Packet {
  readonly kind: number;
  readonly body: Uint8Array;
}

/** A connection to the socket of a simulated node. */
export function simulated(path: string): Connect {
  return async () => {
    const link = new Link(connect(path));
    await link.packet(ADVERTISEMENT);
    const [high = 0, low = 0] = (await link.packet(MTU)).body;
    const mtu = (high << 8) | low;
    return {
      valueLimit: mtu - 3,
      async read(uuid) {
        let value: Uint8Array = new Uint8Array();
        for (;;) {
          const offset = Uint8Array.of(value.length >> 8, value.length & 0xff);
          const { body } = await link.request(REQUESTS.read, uuid, offset, ANSWERS.read);
          value = concat(value, body);
          if (body.length < mtu - 1) {
            return value;
          }
        }
      },
      async write(uuid, value) {
        await link.request(REQUESTS.write, uuid, value, ANSWERS.done);
      },
      async subscribe(uuid, onValue) {
        link.onValue = onValue;
        await link.request(REQUESTS.subscribe, uuid, new Uint8Array(), ANSWERS.done);
      },
      closed(onClosed) {
        link.onClosed = onClosed;
      },
      close() {
        link.close();
        return Promise.resolve();
      },
    };
  };
}

class Link {
  onValue: (value: Uint8Array) => void = () => undefined;
  onClosed: () => void = () => undefined;
  readonly #socket: Socket;
  #received: Uint8Array = new Uint8Array();
  #packets: Packet[] = [];
  #wake: () => void = () => undefined;
  #isClosed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data: Buffer) => this.#take(data));
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#isClosed = true;
      this.#wake();
      this.onClosed();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  async request(kind: number, uuid: string, value: Uint8Array, answer: number): Promise<Packet> {
    const body = concat(Uint8Array.of(kind), Buffer.from(uuid.replace(/-/g, ""), "hex"), value);
    this.#socket.write(concat(Uint8Array.of(body.length >> 8, body.length & 0xff), body));
    return this.packet(answer);
  }

  async packet(kind: number): Promise<Packet> {
    for (;;) {
      const packet = this.#packets.shift();
      if (packet?.kind === kind) {
        return packet;
      }
      if (packet !== undefined || this.#isClosed) {
        throw new Error(packet?.kind === ERROR ? "the node refuses the request" : "the node closed the link");
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #take(data: Uint8Array): void {
    this.#received = concat(this.#received, data);
    for (;;) {
      const [high = 0, low = 0] = this.#received;
      const end = 2 + ((high << 8) | low);
      if (this.#received.length < Math.max(end, 3)) {
        return;
      }
      const [kind = 0, body] = [this.#received[2], this.#received.slice(3, end)];
      this.#received = this.#received.slice(end);
      if (kind === NOTIFICATION) {
        this.onValue(body.slice(16));
      } else {
        this.#packets.push({ kind, body });
        this.#wake();
      }
    }
  }
}
