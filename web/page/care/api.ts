/** The API of network care, as far as the page uses it. */

const API = "/api/provisioning/";
/** How long the node may take to answer a request, milliseconds: longer than its own limit. */
const PATIENCE = 65_000;
/** Pauses between tries to read events, milliseconds. */
const PAUSE = { first: 1_000, longest: 15_000 };
/** The longest frame of an event, characters. */
const FRAME_LIMIT = 64 * 1024;

export interface Status {
  readonly network: {
    readonly provisioned: boolean;
    readonly connected: boolean;
    readonly internetReachable?: boolean;
    readonly apEnabled: boolean;
    readonly lastSsid?: string;
    readonly hotspotSsid: string;
    readonly activeConnection?: string;
    readonly ipv4Address?: string;
    readonly lastError?: string;
  };
  readonly runtime: { readonly health: "ok" | "warning" | "error" };
  readonly recovery: {
    readonly enabled: boolean;
    readonly activeLock: "none" | "cooldown" | "recovery";
    readonly lastReason?: string;
    readonly lastAttemptAt?: number;
    readonly lastRecoveredAt?: number;
  };
  readonly restartPending: boolean;
  readonly services: { readonly networkManagerAvailable: boolean };
}

export interface SavedNetwork {
  readonly name: string;
  readonly active: boolean;
  readonly autoconnect: boolean;
}

export interface SeenNetwork {
  readonly ssid: string;
  /** Percent. */
  readonly signal: number;
  readonly security: string;
  readonly inUse: boolean;
  /** The name as the node has it; none if the text says it. */
  readonly bytes?: Uint8Array;
}

export interface Finding {
  readonly layer: string;
  readonly verdict: "ok" | "failed" | "not_reached";
  readonly evidence: string;
  readonly advice?: string | null;
}

export interface DeviceEvent {
  readonly id: string;
  readonly level: "info" | "success" | "warning" | "error";
  readonly message: string;
  readonly timestamp: number;
  readonly action?: string;
  readonly phase?: string;
  readonly status?: Status;
}

export interface Label {
  readonly name: string;
  readonly code: string;
  readonly pairingQr: string;
  readonly modules: readonly string[];
}

/** Why a request has failed. */
export class CareError extends Error {
  /** The HTTP status; 0: the node was not reached. */
  readonly status: number;
  /** How long to wait before the next guess of the code, seconds. */
  readonly wait: number;

  constructor(status: number, message: string, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

/** What the page does at the node that serves it. */
export interface Access {
  /** Nobody in the network can read passwords. */
  readonly isSealed: boolean;
  status(): Promise<Status>;
  diagnose(): Promise<readonly Finding[]>;
  saved(): Promise<readonly SavedNetwork[]>;
  scan(): Promise<readonly SeenNetwork[]>;
  label(): Promise<Label>;
  connect(network: Pick<SeenNetwork, "ssid" | "bytes">, password: string, hidden: boolean): Promise<void>;
  forget(name: string): Promise<void>;
  hotspot(open: boolean): Promise<void>;
  recover(): Promise<void>;
  reset(): Promise<void>;
  /** Reads events until `stop`, and again after each loss; none is reported twice. */
  follow(stop: AbortSignal, onEvent: (event: DeviceEvent) => void, onLive: (isLive: boolean) => void): Promise<void>;
}

/** The API, with its token or without one. */
export class Care implements Access {
  readonly isSealed = false;
  readonly #token: string;

  constructor(token: string) {
    // A character of another alphabet fits into no header, and no token has one.
    this.#token = /^[!-~]*$/.test(token) ? token : "?";
  }

  async status(): Promise<Status> {
    return (await this.#ask<{ status: Status }>("status")).status;
  }

  async diagnose(): Promise<readonly Finding[]> {
    return (await this.#ask<{ diagnostics: { layers: Finding[] } }>("network/diagnostics")).diagnostics.layers;
  }

  async saved(): Promise<readonly SavedNetwork[]> {
    return (await this.#ask<{ networks: SavedNetwork[] }>("networks/saved")).networks;
  }

  async scan(): Promise<readonly SeenNetwork[]> {
    return (await this.#ask<{ networks: SeenNetwork[] }>("networks")).networks;
  }

  label(): Promise<Label> {
    return this.#ask<Label>("label");
  }

  async connect({ ssid }: Pick<SeenNetwork, "ssid">, password: string, hidden: boolean): Promise<void> {
    await this.#ask("network/connect", { ssid, password, hidden });
  }

  async forget(name: string): Promise<void> {
    await this.#ask("network/forget", { name });
  }

  async hotspot(open: boolean): Promise<void> {
    await this.#ask(open ? "hotspot/enable" : "hotspot/disable", {});
  }

  async recover(): Promise<void> {
    await this.#ask("recovery/trigger", {});
  }

  async reset(): Promise<void> {
    await this.#ask("factory-reset", {});
  }

  async follow(stop: AbortSignal, onEvent: (event: DeviceEvent) => void, onLive: (isLive: boolean) => void): Promise<void> {
    let last = "";
    for (let pause = PAUSE.first; !stop.aborted; pause = Math.min(pause * 2, PAUSE.longest)) {
      try {
        const response = await this.#fetch("events", { signal: stop, headers: last === "" ? {} : { "last-event-id": last } });
        onLive(true);
        pause = PAUSE.first;
        for await (const event of events(response)) {
          last = event.id;
          onEvent(event);
        }
      } catch (error) {
        if (error instanceof CareError && (error.status === 401 || error.status === 403)) {
          return;
        }
      }
      onLive(false);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #ask<Answer>(path: string, body?: object): Promise<Answer> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), PATIENCE);
    try {
      const post = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
      const response = await this.#fetch(path, { ...post, signal: patience.signal });
      return (await response.json().catch(() => {
        throw new CareError(0, "");
      })) as Answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const token: Record<string, string> = this.#token === "" ? {} : { authorization: `Bearer ${this.#token}` };
    let response;
    try {
      response = await fetch(API + path, {
        ...init,
        headers: { ...token, ...(init.headers as Record<string, string>) },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch {
      throw new CareError(0, "");
    }
    if (!response.ok) {
      const { error = "", reason } = (await response.json().catch(() => ({}))) as { error?: string; reason?: string };
      throw new CareError(response.status, reason ?? error);
    }
    return response;
  }
}

/** The events of a stream (WHATWG HTML, 9.2), as far as the node uses the format. */
export async function* events(response: Response): AsyncGenerator<DeviceEvent> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const part = await reader?.read();
    if (part === undefined || part.done || text.length > FRAME_LIMIT) {
      await reader?.cancel().catch(() => undefined);
      return;
    }
    text += decoder.decode(part.value, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const event = parse(text.slice(0, end));
      text = text.slice(end + 2);
      if (event !== undefined) {
        yield event;
      }
    }
  }
}

function parse(frame: string): DeviceEvent | undefined {
  const field = (name: string) =>
    frame
      .split("\n")
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2);
  const data = field("data");
  if (field("event") !== "device" || data === undefined) {
    return undefined;
  }
  try {
    const event: unknown = JSON.parse(data);
    return isEvent(event) ? event : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a value has what the page shows of an event. */
function isEvent(value: unknown): value is DeviceEvent {
  const { id, level, message, timestamp, action } = Object(value) as Record<keyof DeviceEvent, unknown>;
  const texts = [id, level, message, action ?? ""];
  return texts.every((text) => typeof text === "string") && typeof timestamp === "number";
}
