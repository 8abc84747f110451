/** Where the owner can correct what a fault is about. */

import type { ErrorName, Field, LoginField } from "../client/src/index.js";

/** The fields of the registration: shown if a link has not filled them. */
export const ORDERED = ["commandCenterUrl", "nodeId", "provisioningToken", "householdId", "room"] as const;
/** Those without which no device is registered. */
export const REQUIRED = ["commandCenterUrl", "nodeId", "provisioningToken"] as const;

const FIELDS: Partial<Record<ErrorName, Field | LoginField | "security" | "verification">> = {
  WrongPassword: "passphrase",
  ProbablyWrongPassword: "passphrase",
  InvalidPassphrase: "passphrase",
  Wpa3NeedsPassword: "passphrase",
  InvalidSsid: "ssid",
  NetworkNotFound: "ssid",
  CommandCenterUnreachable: "commandCenterUrl",
  TlsFailed: "commandCenterUrl",
  AddressRefused: "commandCenterUrl",
  InvalidUrl: "commandCenterUrl",
  CommandCenterRefused: "provisioningToken",
  TokenRejected: "provisioningToken",
  InvalidToken: "provisioningToken",
  InvalidNodeId: "nodeId",
  WrongHousehold: "householdId",
  InvalidHouseholdId: "householdId",
  InvalidRoom: "room",
  InvalidEnterprise: "identity",
  InvalidIdentity: "identity",
  InvalidCertificate: "certificate",
  InvalidAuthority: "authority",
  InvalidDomain: "domain",
  ServerUnverifiable: "domain",
  NotEnterprise: "security",
  LoginRefused: "password",
  CertificateRefused: "certificate",
  ServerUntrusted: "verification",
  ServerNameMismatch: "domain",
};
/** Faults whose remedy is the country of the device. */
const OF_COUNTRY: readonly ErrorName[] = ["CountryMissing", "ChannelNotAllowed", "InvalidCountry"];

/** The id of the field that a fault is about, in the form with the network's details. */
export function fieldOf(name: ErrorName): string | undefined {
  return FIELDS[name];
}

/** Whether the country is the remedy of a fault. */
export function isOfCountry(name: ErrorName): boolean {
  return OF_COUNTRY.includes(name);
}
