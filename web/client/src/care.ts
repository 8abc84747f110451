/** Network care of a provisioned node, by a phone with a session. */

import { utf8 } from "./bytes.js";
import { ProvisioningError } from "./errors.js";
import type { CareReply } from "./messages.js";
import type { Phone } from "./phone.js";

/** The verdicts in the order of their numbers, from 1. */
const VERDICTS = ["ok", "failed", "notReached"] as const;

/** The states of recovery in the order of their numbers. */
const RECOVERIES = [undefined, "ready", "disabled", "cooldown", "inProgress"] as const;

/** The levels of events in the order of their numbers, from 1. */
const LEVELS = ["info", "success", "warning", "error"] as const;

/** The phases of actions in the order of their numbers. */
const PHASES = [undefined, "started", "completed", "failed"] as const;

/** The largest QR code has 177 modules in a row (ISO/IEC 18004, 5.3.1). */
const QR_LIMIT = 177;

/** The state of the node's network. */
export interface CareStatus {
  readonly connected: boolean;
  /** The network that the node is in; empty if it is in none. */
  readonly ssid: Uint8Array;
  /** The node's IPv4 address there; empty if it has none. */
  readonly address: string;
  /** The internet is reachable, as far as known. */
  readonly internet: boolean;
  /** The hotspot is open. */
  readonly hotspot: boolean;
  /** Why the last operation has failed, in English; empty if it has not. */
  readonly lastError: string;
  /** Whether a recovery can start: `disabled` by the settings, `cooldown` after the last one. A node that is older does not say it. */
  readonly recovery: (typeof RECOVERIES)[number];
}

/** A network that the node can join by itself. */
export interface SavedNetwork {
  /** By which it is forgotten. */
  readonly name: string;
  /** The node joins it without a request. */
  readonly autoconnect: boolean;
  /** The node is in it. */
  readonly active: boolean;
}

/** What was found out about a layer of the network. */
export interface LayerReport {
  /** Such as `radio` or `dns`. */
  readonly name: string;
  /** `notReached`: something that the layer needs does not work. */
  readonly verdict: (typeof VERDICTS)[number];
  /** What was seen, in English. */
  readonly evidence: string;
  /** What to do, in English; empty if the layer has not failed. */
  readonly advice: string;
}

/** Something that has happened to the network. */
export interface CareEvent {
  /** `YYYYMMDDHHMMSS-xxxxxx`, in UTC. Ids grow, as texts. */
  readonly id: string;
  readonly level: (typeof LEVELS)[number];
  /** One line, in English. */
  readonly message: string;
  /** The action that it is about, such as `network.connect`; empty for none. */
  readonly action: string;
  /** How far the action is. */
  readonly phase: (typeof PHASES)[number];
}

/** What the node's label shows for pairing. */
export interface Label {
  /** The advertised name. */
  readonly name: string;
  /** Six digits. */
  readonly code: string;
  /** The text of the pairing QR code. */
  readonly pairingQr: string;
  /** The QR code of that text: whether the modules of each row are dark. Empty if the node has none. */
  readonly modules: readonly (readonly boolean[])[];
}

/** The events after one. */
export interface NewEvents {
  /** In their order. */
  readonly events: readonly CareEvent[];
  /** The node no longer has the event of that id, so events between it and these can be lost. */
  readonly gap: boolean;
}

/**
 * The requests to network care. They need the session of {@link Phone.pair}, and no token.
 *
 * A request that joins, opens or closes changes the radio. A link through the access point is lost with it, and the request
 * continues: connect again, and ask for the {@link status}. A node that is older, or has no network care, refuses with
 * `Malformed`; one that is busy, with `InProgress`.
 */
export class NetworkCare {
  readonly #phone: Phone;

  constructor(phone: Phone) {
    this.#phone = phone;
  }

  /** The state of the network. */
  async status(): Promise<CareStatus> {
    const [reply] = await this.#phone.care({ $case: "status", value: {} });
    const { value } = expect(reply, "careStatus");
    return { ...value, recovery: named(RECOVERIES, value.recovery) };
  }

  /** The networks that the node can join by itself. */
  async saved(): Promise<SavedNetwork[]> {
    const replies = await this.#phone.care({ $case: "saved", value: {} });
    return replies.flatMap((reply) => expect(reply, "saved").value.networks);
  }

  /** Joins a saved network. If it does not work or has no internet, the node returns to what it did before. */
  join(ssid: Uint8Array | string): Promise<void> {
    return this.#do({ $case: "join", value: typeof ssid === "string" ? utf8(ssid) : ssid });
  }

  /**
   * Joins a network, and saves it; without a passphrase an open one, or one that is saved. If it does not work or has no internet,
   * the node returns to what it did before.
   */
  connect(ssid: Uint8Array | string, passphrase: string, hidden = false): Promise<void> {
    const name = typeof ssid === "string" ? utf8(ssid) : ssid;
    return this.#do({ $case: "connect", value: { ssid: name, passphrase, hidden } });
  }

  /** Deletes the saved network of that name. */
  forget(name: string): Promise<void> {
    return this.#do({ $case: "forget", value: name });
  }

  /** Finds out what works, from the radio to the command center. Takes up to ten seconds. */
  async diagnose(): Promise<LayerReport[]> {
    const [reply] = await this.#phone.care({ $case: "diagnose", value: {} });
    return expect(reply, "diagnosis").value.layers.map((layer) => ({ ...layer, verdict: named(VERDICTS, layer.verdict - 1) }));
  }

  /** Opens the hotspot, or closes it. */
  hotspot(open: boolean): Promise<void> {
    return this.#do({ $case: "hotspot", value: open });
  }

  /** Starts a recovery; {@link events} tell how it ends. */
  recover(): Promise<void> {
    return this.#do({ $case: "recover", value: {} });
  }

  /** Restarts the node's program, which ends the session. */
  restart(): Promise<void> {
    return this.#do({ $case: "restart", value: {} });
  }

  /** What the label shows, such as for a second owner. Anyone who has it can set the node up. */
  async label(): Promise<Label> {
    const [reply] = await this.#phone.care({ $case: "label", value: {} });
    const { size, modules, ...texts } = expect(reply, "label").value;
    if (size > QR_LIMIT || modules.length < (size * size) / 8) {
      throw new ProvisioningError("Malformed");
    }
    const isDark = (index: number) => (((modules[index >> 3] ?? 0) << (index & 7)) & 0x80) !== 0;
    const places = [...Array(size).keys()];
    return { ...texts, modules: places.map((y) => places.map((x) => isDark(y * size + x))) };
  }

  /** Deletes everything that the owner has given the node. It is complete when this resolves. */
  reset(): Promise<void> {
    return this.#do({ $case: "reset", value: {} });
  }

  /** The events after the one with that id; the last 25 without one. To follow them, ask again with the last id. */
  async events(after = ""): Promise<NewEvents> {
    const replies = await this.#phone.care({ $case: "events", value: { after } });
    const parts = replies.map((reply) => expect(reply, "events").value);
    const events = parts.flatMap((part) => part.events);
    return {
      events: events.map((event) => ({ ...event, level: named(LEVELS, event.level - 1), phase: named(PHASES, event.phase) })),
      gap: parts.some((part) => part.gap),
    };
  }

  async #do(request: Parameters<Phone["care"]>[0]): Promise<void> {
    const [reply] = await this.#phone.care(request);
    expect(reply, "done");
  }
}

function expect<Case extends CareReply["$case"]>(reply: CareReply | undefined, name: Case): Extract<CareReply, { $case: Case }> {
  if (reply?.$case !== name) {
    throw new ProvisioningError("UnexpectedAnswer");
  }
  return reply as Extract<CareReply, { $case: Case }>;
}

/** The name of a number. */
function named<Name>(names: readonly Name[], index: number): Name {
  if (!(index in names)) {
    throw new ProvisioningError("Malformed");
  }
  return names[index] as Name;
}
