/** Sealed messages over HTTP: section "Over HTTP" of the protocol. */

import { ENDPOINTS } from "./endpoint.js";
import type { Readable, Writable } from "./endpoint.js";
import { ProvisioningError } from "./errors.js";
import { OUTBOUND_LIMIT } from "./framing.js";
import { decodeList } from "./messages.js";
import { systemClock } from "./transport.js";
import type { Clock, Transport } from "./transport.js";

const PROTOBUF = "application/x-protobuf";
const SESSION = "jarvis-session";
const EVENTS = "/api/v1/events";
/** The largest body that a node sends, bytes: a full queue of the largest messages. */
const BODY_LIMIT = 64 * (OUTBOUND_LIMIT + 16);

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Options of {@link HttpTransport}. */
export interface HttpOptions {
  /** Replaces the global `fetch`, such as with one that is bound to the access point's network. */
  readonly fetch?: Fetch;
  /** Replaces the system's clock. */
  readonly clock?: Clock;
  /** Pause between requests for events, milliseconds. */
  readonly pause?: number;
  /** How long the node may take to answer a request, milliseconds. */
  readonly patience?: number;
}

interface Answer {
  readonly status: number;
  readonly session: string | null;
  /** The body, if it is a message. */
  readonly body: Uint8Array | undefined;
}

/** A node in the same network, or the one whose access point the phone has joined. */
export class HttpTransport implements Transport {
  readonly #base: string;
  readonly #fetch: Fetch;
  readonly #clock: Clock;
  readonly #pause: number;
  readonly #patience: number;
  #session: string | null = null;
  #messages: Uint8Array[] = [];

  /** A link to the node at a URL such as `http://192.168.4.1:8080`. The first request connects. */
  constructor(base: string, options: HttpOptions = {}) {
    this.#base = base.replace(/\/+$/, "");
    this.#fetch = options.fetch ?? ((url, init) => fetch(url, init));
    this.#clock = options.clock ?? systemClock;
    this.#pause = options.pause ?? 500;
    this.#patience = options.patience ?? 15_000;
  }

  async read(endpoint: Readable): Promise<Uint8Array> {
    const answer = await this.#request("GET", ENDPOINTS[endpoint].path);
    if (answer.status !== 200 || answer.body === undefined) {
      throw new ProvisioningError("UnexpectedAnswer");
    }
    return answer.body;
  }

  async write(endpoint: Writable, message: Uint8Array): Promise<void> {
    const answer = await this.#request("POST", ENDPOINTS[endpoint].path, message);
    if (endpoint === "session") {
      this.#session = answer.session;
    }
    this.#take(answer);
  }

  async receive(signal: AbortSignal): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.#messages.shift();
      if (message !== undefined || signal.aborted) {
        return message;
      }
      if (this.#session === null) {
        throw new ProvisioningError("LinkLost");
      }
      this.#take(await this.#events());
      if (this.#messages.length === 0) {
        await this.#clock.sleep(this.#pause, signal);
      }
    }
  }

  /** The node may still hold the link, and with it the session, so the next handshake names it: others would be told to wait. */
  reconnect(): Promise<void> {
    this.#messages = [];
    return Promise.resolve();
  }

  async close(): Promise<void> {
    if (this.#session !== null) {
      // The node ends a silent link by itself.
      await this.#request("DELETE", ENDPOINTS.session.path).catch(() => undefined);
    }
    this.#session = null;
    this.#messages = [];
  }

  /** The node closes idle connections; a request that crosses the close is sent once more. */
  async #events(): Promise<Answer> {
    try {
      return await this.#request("GET", EVENTS);
    } catch (error) {
      if (error instanceof ProvisioningError && error.name === "LinkLost") {
        return this.#request("GET", EVENTS);
      }
      throw error;
    }
  }

  /** Takes the messages of an answer. A refusal of the protocol is a message, with any status. */
  #take({ status, body }: Answer): void {
    if (body === undefined) {
      throw new ProvisioningError(status === 401 || status === 404 || status === 410 ? "LinkLost" : "UnexpectedAnswer");
    }
    const messages = decodeList(body);
    if (messages.length === 0 && status !== 200) {
      throw new ProvisioningError(status === 503 ? "TimedOut" : "UnexpectedAnswer");
    }
    this.#messages.push(...messages);
  }

  async #request(method: string, path: string, message?: Uint8Array): Promise<Answer> {
    const headers: Record<string, string> = { accept: PROTOBUF };
    if (message !== undefined) {
      headers["content-type"] = PROTOBUF;
    }
    if (this.#session !== null) {
      headers[SESSION] = this.#session;
    }
    const body = message === undefined ? null : (message as Uint8Array<ArrayBuffer>);
    const patience = new AbortController();
    const done = new AbortController();
    void this.#clock.sleep(this.#patience, done.signal).then(() => patience.abort());
    try {
      const response = await this.#fetch(this.#base + path, {
        method,
        headers,
        body,
        cache: "no-store",
        credentials: "omit",
        // The request that closes the link is sent even if the page is left meanwhile.
        keepalive: method === "DELETE",
        redirect: "error",
        referrerPolicy: "no-referrer",
        signal: patience.signal,
      });
      const isMessage = response.headers.get("content-type") === PROTOBUF;
      const bytes = isMessage ? await readBody(response) : undefined;
      return { status: response.status, session: response.headers.get(SESSION), body: bytes };
    } catch (error) {
      if (error instanceof ProvisioningError) {
        throw error;
      }
      // The browser's text can repeat the address; it says nothing that the owner can use.
      throw new ProvisioningError(patience.signal.aborted ? "TimedOut" : "LinkLost");
    } finally {
      done.abort();
    }
  }
}

async function readBody(response: Response): Promise<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    return limited(new Uint8Array(await response.arrayBuffer()));
  }
  const body = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    body.push(value);
    length += value.length;
    if (length > BODY_LIMIT) {
      await reader.cancel();
      throw new ProvisioningError("TooLarge");
    }
  }
  const bytes = new Uint8Array(length);
  body.reduce((offset, part) => (bytes.set(part, offset), offset + part.length), 0);
  return bytes;
}

function limited(bytes: Uint8Array): Uint8Array {
  if (bytes.length > BODY_LIMIT) {
    throw new ProvisioningError("TooLarge");
  }
  return bytes;
}
