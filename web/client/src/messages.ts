/** The messages as plain values, and their encoding. */

import type { BinaryWriter } from "@bufbuild/protobuf/wire";

import { utf8 } from "./bytes.js";
import { ProvisioningError, faultName } from "./errors.js";
import type { FaultName } from "./errors.js";
import * as received from "./generated/decode/jarvis/provisioning/v1/provisioning.js";
import * as opened from "./generated/decode/jarvis/provisioning/v1/session.js";
import * as sent from "./generated/encode/jarvis/provisioning/v1/provisioning.js";
import * as sealed from "./generated/encode/jarvis/provisioning/v1/session.js";

/** The states in the order of their numbers, from 1. */
const STATES = ["AP_MODE", "CONNECTING", "REGISTERING", "PROVISIONED", "ERROR", "ONLINE"] as const;

/** The kinds of protection in the order of their numbers, from 1. */
const SECURITIES = ["OPEN", "WEP", "WPA", "WPA2", "WPA2_WPA3", "WPA3", "OWE", "ENTERPRISE"] as const;

/** The methods of a login in the order of their numbers, from 1. */
const EAP_METHODS = ["PEAP_MSCHAPV2", "TTLS_PAP", "TLS"] as const;

/** The fields of credentials that a phone may leave out. */
const OPTIONAL = {
  hidden: false,
  room: "",
  configServiceUrl: "",
  householdId: "",
  provisionCode: "",
  time: 0n,
  country: "",
  seenFrequency: 0,
};

/** The fields of a login that a phone may leave out. */
const OPTIONAL_LOGIN = {
  anonymousIdentity: "",
  password: "",
  certificate: new Uint8Array(0),
  certificatePassword: "",
  authority: new Uint8Array(0),
  domain: "",
  acceptUnverifiedServer: false,
};

/** What the node is doing. */
export type State = (typeof STATES)[number];

/** The protection of a network. `UNKNOWN`: of a kind that this package does not know. */
export type Security = (typeof SECURITIES)[number] | "UNKNOWN";

/** The data that a phone reads before it opens a session, in clear. */
export interface Info {
  readonly nodeId: string;
  /** The name on the label. */
  readonly name: string;
  readonly firmwareVersion: string;
  readonly hardware: string;
  readonly capabilities: readonly string[];
  readonly state: State;
  readonly previouslyProvisioned: boolean;
  /** Protocol versions that the node supports. */
  readonly versions: readonly number[];
  /** The country of its radio, two letters; `00` if none is set, and empty if that is not known. */
  readonly country: string;
}

/** A fault in a status. `name` is none if this package does not know the number. */
export interface StatusFault {
  readonly name: FaultName | undefined;
  readonly number: number;
}

/** The state in clear. */
export interface PublicStatus {
  readonly state: State;
  /** 0 to 100. */
  readonly percent: number;
  readonly fault: StatusFault | undefined;
}

/** The state, as a phone with a session sees it. */
export interface Status extends PublicStatus {
  /** One English sentence of the node. */
  readonly message: string;
  /** The phone may send credentials again at once. */
  readonly retryable: boolean;
  /** The attempt; 0 for none, or for one that came over the JSON API. */
  readonly requestId: bigint;
  readonly ssid: Uint8Array;
  /** The HTTP status with which the command center refused; 0 if it did not. */
  readonly registrationStatus: number;
  /** Joined, but a portal or the router blocks internet access. */
  readonly limitedConnectivity: boolean;
  /** The appliance that the node became by its provision code; empty if there is none. */
  readonly applianceId: string;
  /** After a success: where the owner continues; empty if the node's settings name no page. */
  readonly nextUrl: string;
}

/** A network in range of the node. */
export interface Network {
  /** 1 to 32 bytes of any value. */
  readonly ssid: Uint8Array;
  readonly signalDbm: number;
  readonly security: Security;
  /** MHz; 0 if unknown. */
  readonly frequency: number;
}

/** The settings key that phone and node share. */
export interface K2 {
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly kid: string;
  /** RFC 3339. */
  readonly createdAt: string;
}

/** How a node proves itself to an enterprise network: by a password in a tunnel, or by a certificate. */
export type EapMethod = (typeof EAP_METHODS)[number];

/** The login to an enterprise network (802.1X). */
export interface Enterprise {
  readonly method: EapMethod;
  /** The user name, 1 to 253 bytes. */
  readonly identity: string;
  /** What is sent in clear in place of the user name. */
  readonly anonymousIdentity?: string;
  /** For the methods with a password, 1 to 256 bytes. */
  readonly password?: string;
  /** With `TLS`: certificate and private key of the node, PKCS#12, at most 8192 bytes. */
  readonly certificate?: Uint8Array;
  /** With `TLS`: the password of that PKCS#12, 1 to 256 bytes. */
  readonly certificatePassword?: string;
  /**
   * The certificate of the authority that the server's certificate must come from: DER, or one or more in PEM; at most 4096 bytes.
   * Without it, the authorities of the node's system are accepted, and `domain` is necessary.
   */
  readonly authority?: Uint8Array;
  /** The name of the server, or a domain that it is in. */
  readonly domain?: string;
  /** Anyone nearby can then pretend to be the network and get the password. Only if the owner has chosen that by name. */
  readonly acceptUnverifiedServer?: boolean;
}

/** What an attempt needs. */
export interface Credentials {
  /** Random, not 0; see {@link newRequestId}. */
  readonly requestId: bigint;
  /** The network's name: 1 to 32 bytes; a text is sent as UTF-8. Empty, with an empty passphrase, for a node that is online already. */
  readonly ssid: Uint8Array | string;
  /** Empty for an open network, and for an enterprise network. */
  readonly passphrase: string;
  /** The login to an enterprise network; see {@link checkEnterprise}. */
  readonly enterprise?: Enterprise;
  /** The network does not broadcast its name. */
  readonly hidden?: boolean;
  readonly room?: string;
  readonly commandCenterUrl: string;
  readonly configServiceUrl?: string;
  readonly householdId?: string;
  /** The identity that the command center ordered for this node. */
  readonly nodeId: string;
  readonly provisioningToken: string;
  readonly provisionCode?: string;
  /** The phone's time, seconds since 1970: a node without a clock checks certificates by it. {@link Phone} sends its own. */
  readonly time?: bigint;
  /** The country that the node is in, two letters, such as `DE`. */
  readonly country?: string;
  /** The channel on which the phone sees the network, MHz. */
  readonly seenFrequency?: number;
}

/** The plaintext of a phone's record. */
export type Request =
  | { readonly kind: "scan"; readonly fresh: boolean; readonly country?: string }
  | { readonly kind: "k2"; readonly k2: K2 }
  | { readonly kind: "credentials"; readonly credentials: Credentials }
  | { readonly kind: "status" }
  | { readonly kind: "cancel"; readonly requestId: bigint }
  | { readonly kind: "care"; readonly request: CareRequest };

/** A request to network care, as `NetworkCare` makes it. */
export type CareRequest = NonNullable<sent.CareRequest["kind"]>;

/** A reply of network care, as `NetworkCare` reads it. */
export type CareReply = Extract<
  NonNullable<received.Reply["kind"]>,
  { $case: "done" | "careStatus" | "saved" | "diagnosis" | "events" | "label" }
>;

/** An answer to a request. */
export type Reply =
  | { readonly kind: "networks"; readonly networks: readonly Network[]; readonly last: boolean }
  | { readonly kind: "k2Stored"; readonly kid: string }
  | { readonly kind: "accepted"; readonly requestId: bigint }
  | { readonly kind: "status"; readonly status: Status }
  | { readonly kind: "refused"; readonly fault: number }
  | { readonly kind: "care"; readonly reply: CareReply };

/** The plaintext of a node's record: a reply to the record of that counter, or a change of state. */
export type Message =
  { readonly kind: "reply"; readonly to: bigint; readonly reply: Reply } | { readonly kind: "event"; readonly status: Status };

/** A sealed message. */
export interface Record {
  readonly counter: bigint;
  readonly sealed: Uint8Array;
  readonly confirmation: Uint8Array;
}

/** The node's answer to an opening. */
export interface Accept {
  readonly share: Uint8Array;
  readonly confirmation: Uint8Array;
  readonly answer: Uint8Array;
}

/** A message of the node. */
export type Outbound =
  | { readonly kind: "accept"; readonly accept: Accept }
  | { readonly kind: "record"; readonly record: Record }
  | { readonly kind: "refusal"; readonly fault: number; readonly retryAfterSeconds: number };

/** A new id for an attempt: 63 random bits, not 0. */
export function newRequestId(): bigint {
  const random = crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  return random >> 1n || 1n;
}

/** Serializes the offer, which both sides authenticate byte for byte. */
export function encodeOffer(version: number, kind: "code" | "qr", key: Uint8Array): Uint8Array {
  const secret = kind === "code" ? sealed.PairingSecret.CODE : sealed.PairingSecret.QR;
  return encode(sealed.Offer, { versions: [version], secret, key });
}

/** Serializes the message that opens a session. */
export function encodeOpen(sessionId: Uint8Array, share: Uint8Array, offer: Uint8Array): Uint8Array {
  return encode(sealed.Open, { sessionId, share, offer });
}

/** Parses the node's part of the handshake. */
export function decodeAnswer(bytes: Uint8Array): { version: number; key: Uint8Array; nodeId: string } {
  const { version, key, nodeId } = decode(opened.Answer, bytes);
  return { version, key, nodeId };
}

/** Serializes a sealed message. */
export function encodeRecord(record: Record): Uint8Array {
  return encode(sealed.Record, record);
}

/** Parses a message of the node. */
export function decodeOutbound(bytes: Uint8Array): Outbound {
  const { kind } = decode(opened.Outbound, bytes);
  switch (kind?.$case) {
    case "accept":
      return { kind: "accept", accept: kind.value };
    case "record":
      return { kind: "record", record: kind.value };
    case "refusal":
      return { kind: "refusal", ...kind.value };
    default:
      throw new ProvisioningError("Malformed");
  }
}

/** Parses the body of an HTTP answer into serialized messages of the node. */
export function decodeList(bytes: Uint8Array): Uint8Array[] {
  return decode(opened.OutboundList, bytes).outbound.map((outbound) => encode(sealed.Outbound, outbound));
}

/** Serializes the plaintext of a record. The bytes can contain secrets: erase them after use. */
export function encodeRequest(request: Request): Uint8Array {
  return encode(sent.Request, { kind: requestKind(request) });
}

function requestKind(request: Request): sent.Request["kind"] {
  switch (request.kind) {
    case "scan":
      return { $case: "scan", value: { fresh: request.fresh, country: request.country ?? "" } };
    case "k2":
      return { $case: "k2", value: request.k2 };
    case "credentials": {
      const { ssid, enterprise: login } = request.credentials;
      const bytes = typeof ssid === "string" ? utf8(ssid) : ssid;
      const enterprise = login && { ...OPTIONAL_LOGIN, ...login, method: eapMethod(login.method) };
      return { $case: "credentials", value: { ...OPTIONAL, ...request.credentials, ssid: bytes, enterprise } };
    }
    case "status":
      return { $case: "status", value: {} };
    case "cancel":
      return { $case: "cancel", value: { requestId: request.requestId } };
    case "care":
      return { $case: "care", value: { kind: request.request } };
  }
}

function eapMethod(method: EapMethod): sent.EapMethod {
  return (EAP_METHODS.indexOf(method) + 1) as sent.EapMethod;
}

/** Parses the plaintext of a node's record. */
export function decodeMessage(bytes: Uint8Array): Message {
  const { kind } = decode(received.Message, bytes);
  if (kind?.$case === "reply") {
    return { kind: "reply", to: kind.value.to, reply: reply(kind.value) };
  }
  if (kind?.$case === "event" && kind.value.kind !== undefined) {
    return { kind: "event", status: status(kind.value.kind.value) };
  }
  throw new ProvisioningError("Malformed");
}

/** Parses the value of `info`. */
export function decodeInfo(bytes: Uint8Array): Info {
  const info = decode(received.Info, bytes);
  return { ...info, state: stateOf(info.state) };
}

/** Parses the value of `status`. */
export function decodePublicStatus(bytes: Uint8Array): PublicStatus {
  return publicStatus(decode(received.PublicStatus, bytes));
}

function reply({ kind }: received.Reply): Reply {
  switch (kind?.$case) {
    case "networks": {
      const networks = kind.value.networks.map((network) => ({ ...network, security: securityOf(network.security) }));
      return { kind: "networks", networks, last: kind.value.last };
    }
    case "k2Stored":
      return { kind: "k2Stored", kid: kind.value.kid };
    case "accepted":
      return { kind: "accepted", requestId: kind.value.requestId };
    case "status":
      return { kind: "status", status: status(kind.value) };
    case "refused":
      return { kind: "refused", fault: kind.value };
    case "done":
    case "careStatus":
    case "saved":
    case "diagnosis":
    case "events":
    case "label":
      return { kind: "care", reply: kind };
    default:
      throw new ProvisioningError("Malformed");
  }
}

function status(message: received.Status): Status {
  const { progressPercent: _percent, ...rest } = message;
  return { ...rest, ...publicStatus(message) };
}

function publicStatus(message: received.PublicStatus): PublicStatus {
  if (message.progressPercent > 100) {
    throw new ProvisioningError("Malformed");
  }
  const fault = message.fault === 0 ? undefined : { name: faultName(message.fault), number: message.fault };
  return { state: stateOf(message.state), percent: message.progressPercent, fault };
}

function stateOf(number: received.State): State {
  const state = STATES[number - 1];
  if (state === undefined) {
    throw new ProvisioningError("Malformed");
  }
  return state;
}

function securityOf(number: received.Security): Security {
  return SECURITIES[number - 1] ?? "UNKNOWN";
}

/** A message that a phone sends, in the generated code. */
interface Encoder<Value> {
  encode(value: Value): BinaryWriter;
}

/** A message that a phone receives. */
interface Decoder<Value> {
  decode(bytes: Uint8Array): Value;
}

function encode<Value>(message: Encoder<Value>, value: Value): Uint8Array {
  return message.encode(value).finish();
}

function decode<Value>(message: Decoder<Value>, bytes: Uint8Array): Value {
  try {
    return message.decode(bytes);
  } catch {
    // The library's text can repeat bytes of the message.
    throw new ProvisioningError("Malformed");
  }
}
