/** Network care over the session of a phone: for an owner with the code on the label. */

import type { Phone, ProvisioningError } from "../../client/src/index.js";
import type { CareReply, CareRequest } from "../../client/src/messages.js";
import type * as Setup from "../start.js";
import { CareError } from "./api.js";
import type { Access, DeviceEvent, Finding, Label, SavedNetwork, SeenNetwork, Status } from "./api.js";
import { language } from "./texts.js";

/** Pause between requests for events, milliseconds. */
const EVENTS_PAUSE = 2_000;
/** How long to try to get a lost session back, milliseconds. */
const RESTORE = 10_000;

/** The states of recovery by their numbers. */
const LOCKS = ["none", "none", "none", "cooldown", "recovery"] as const;
const DISABLED = 2;
/** The verdicts by their numbers. */
const VERDICTS = ["not_reached", "ok", "failed", "not_reached"] as const;
/** The levels of events by their numbers. */
const LEVELS = ["info", "info", "success", "warning", "error"] as const;
/** The phases of actions by their numbers. */
const PHASES = ["", "started", "completed", "failed"] as const;
/** The kinds of protection whose names in the API are others. */
const SECURITIES: Readonly<Record<string, string>> = { OPEN: "open", WPA: "WPA1", WPA2_WPA3: "WPA2 WPA3", ENTERPRISE: "802.1X" };

/** Whether this is a code, or the text of a QR code, and not a token. */
export function isCode(typed: string): boolean {
  return /^(\d[\s-]*){6}$|^JARVIS:/.test(typed);
}

/** Opens a session: one guess. The client for it is a part of the setup page's script. */
export async function open(code: string): Promise<Access> {
  // The address is not one of a file that is built with this one.
  const { PairingSecret, Phone, transport } = (await import("/page.js" as string).catch(() => {
    throw new CareError(0, "");
  })) as typeof Setup;
  const phone = new Phone(transport);
  try {
    const { name, state } = await phone.info();
    await phone.pair(PairingSecret.parse(code));
    // Another phone need not wait until the node notices.
    addEventListener("pagehide", () => void transport.close());
    return new SealedCare(phone, name, state !== "AP_MODE");
  } catch (error) {
    throw translated(error as ProvisioningError);
  }
}

class SealedCare implements Access {
  readonly isSealed = true;
  readonly #phone: Phone;
  readonly #name: string;
  readonly #provisioned: boolean;
  #ssid = "";

  constructor(phone: Phone, name: string, provisioned: boolean) {
    this.#phone = phone;
    this.#name = name;
    this.#provisioned = provisioned;
  }

  async status(): Promise<Status> {
    const [{ connected, ssid, address, internet, hotspot, lastError, recovery }] = await this.#read(
      { $case: "status", value: {} },
      "careStatus",
    );
    this.#ssid = shown(ssid);
    return {
      network: {
        provisioned: this.#provisioned,
        connected,
        internetReachable: internet,
        apEnabled: hotspot,
        lastSsid: this.#ssid,
        hotspotSsid: this.#name,
        ...(address === "" ? {} : { ipv4Address: address }),
        ...(lastError === "" ? {} : { lastError }),
      },
      runtime: { health: internet ? "ok" : connected || hotspot ? "warning" : "error" },
      recovery: { enabled: recovery !== DISABLED, activeLock: LOCKS[recovery as number] ?? "none" },
      restartPending: false,
      services: { networkManagerAvailable: true },
    };
  }

  async diagnose(): Promise<readonly Finding[]> {
    const [{ layers }] = await this.#read({ $case: "diagnose", value: {} }, "diagnosis");
    return layers.map(({ name, verdict, evidence, advice }) => ({
      layer: name,
      verdict: VERDICTS[verdict as number] ?? "not_reached",
      evidence,
      advice: advice || null,
    }));
  }

  async saved(): Promise<readonly SavedNetwork[]> {
    return (await this.#read({ $case: "saved", value: {} }, "saved")).flatMap(({ networks }) => networks);
  }

  async scan(): Promise<readonly SeenNetwork[]> {
    const networks = await this.#restored(() => this.#phone.scan(true));
    return networks.map(({ ssid, signalDbm, security }) => ({
      ssid: shown(ssid),
      bytes: ssid,
      signal: (signalDbm + 90) / 0.6,
      security: SECURITIES[security] ?? security,
      inUse: shown(ssid) === this.#ssid,
    }));
  }

  async label(): Promise<Label> {
    const [{ size, modules, ...texts }] = await this.#read({ $case: "label", value: {} }, "label");
    const bits = [...modules].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    const rows = Array.from({ length: Math.min(size, modules.length) }, (_, row) => bits.slice(row * size, (row + 1) * size));
    return { ...texts, modules: rows };
  }

  connect({ ssid, bytes }: Pick<SeenNetwork, "ssid" | "bytes">, passphrase: string, hidden: boolean): Promise<void> {
    return this.#change({ $case: "connect", value: { ssid: bytes ?? new TextEncoder().encode(ssid), passphrase, hidden } });
  }

  forget(name: string): Promise<void> {
    return this.#change({ $case: "forget", value: name });
  }

  hotspot(open: boolean): Promise<void> {
    return this.#change({ $case: "hotspot", value: open });
  }

  recover(): Promise<void> {
    return this.#change({ $case: "recover", value: {} });
  }

  reset(): Promise<void> {
    return this.#change({ $case: "reset", value: {} });
  }

  /** The node sends events only as replies. A page that nobody sees does not keep other phones out. */
  async follow(stop: AbortSignal, onEvent: (event: DeviceEvent) => void, onLive: (isLive: boolean) => void): Promise<void> {
    for (let last = ""; !stop.aborted;) {
      try {
        const parts = document.hidden ? [] : await this.#read({ $case: "events", value: { after: last } }, "events");
        onLive(true);
        for (const { id, level, message, action, phase } of parts.flatMap(({ events }) => events)) {
          last = id;
          const [named, reached] = [LEVELS[level as number] ?? "info", PHASES[phase as number] ?? ""];
          onEvent({ id, level: named, message, timestamp: timeOf(id), action, phase: reached });
        }
      } catch {
        onLive(false);
      }
      await new Promise((resolve) => setTimeout(resolve, EVENTS_PAUSE));
    }
  }

  /** Sends a request that may be sent twice; returns what its replies contain. */
  async #read<Case extends CareReply["$case"]>(request: CareRequest, expected: Case): Promise<Contents<Case>> {
    const replies = await this.#restored(() => this.#phone.care(request));
    if (replies.some(({ $case }) => $case !== expected)) {
      throw new CareError(500, "");
    }
    return replies.map(({ value }) => value) as unknown as Contents<Case>;
  }

  /** Sends a request once. Its answer may be lost with the network that the node leaves. */
  async #change(request: CareRequest): Promise<void> {
    // The session may be over since the last request.
    await this.status();
    await this.#phone.care(request).catch((error: unknown) => {
      throw translated(error as ProvisioningError);
    });
  }

  /** Opens the session again if it is over, once. */
  async #restored<Result>(call: () => Promise<Result>): Promise<Result> {
    try {
      return await call().catch(async (error: unknown) => {
        if (!OVER.includes((error as ProvisioningError).name)) {
          throw error;
        }
        await this.#phone.restore(RESTORE);
        return call();
      });
    } catch (error) {
      throw translated(error as ProvisioningError);
    }
  }
}

/** What the replies of one kind contain; at least one. */
type Contents<Case> = [Extract<CareReply, { $case: Case }>["value"], ...Extract<CareReply, { $case: Case }>["value"][]];

/** The errors after which a session is opened again. */
const OVER: readonly string[] = ["LinkLost", "TimedOut", "NotAuthenticated", "NoSession"];
/** The statuses that the API has for errors of a session: those that need the code again, and those of a node that is busy. */
const STATUSES: Readonly<Record<string, number>> = {
  LinkLost: 0,
  TimedOut: 0,
  WrongCode: 401,
  Locked: 401,
  NoSession: 401,
  Busy: 409,
  InProgress: 409,
  Malformed: 409,
};

function translated(error: ProvisioningError | CareError): CareError {
  if (error instanceof CareError) {
    return error;
  }
  const status = STATUSES[error.name] ?? 500;
  return new CareError(status, status === 0 ? "" : error.text(language()), error.retryAfterSeconds);
}

function shown(ssid: Uint8Array): string {
  return new TextDecoder().decode(ssid);
}

/** The time in an event's id, which begins with YYYYMMDDHHMMSS in UTC. */
function timeOf(id: string): number {
  return Date.parse(id.replace(/^(....)(..)(..)(..)(..)(..).*/, "$1-$2-$3T$4:$5:$6Z"));
}
