/** Checks of the owner's inputs, by the grammars of "Limits and times", so that a mistake is named before it is sent. */

import { utf8 } from "./bytes.js";
import type { FaultName } from "./errors.js";
import type { Credentials, Security } from "./messages.js";

const TEXT_LIMIT = 512;
const NODE_ID = /^[A-Za-z0-9._-]{1,64}$/;
const KEY = /^[0-9A-Fa-f]{64}$/;
const PROVISION_CODE = /^[A-Za-z0-9]{16}$/;
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/;

/** The fields of credentials that an owner fills in. */
export type Field = Exclude<keyof Credentials, "requestId" | "hidden" | "time" | "country" | "seenFrequency" | "enterprise">;

/** The fault of a network's name, if any. */
export function checkSsid(ssid: Uint8Array | string): FaultName | undefined {
  const { length } = typeof ssid === "string" ? utf8(ssid) : ssid;
  return length >= 1 && length <= 32 ? undefined : "InvalidSsid";
}

/** The fault of a password, if any, for a network of that protection; without one, an empty password is for an open network. */
export function checkPassphrase(passphrase: string, security?: Security): FaultName | undefined {
  const isValid = (needsPassphrase(security) ?? passphrase !== "") ? isPassphrase(passphrase, security) : passphrase === "";
  if (isValid && security === "WPA3" && KEY.test(passphrase)) {
    return "Wpa3NeedsPassword";
  }
  return isValid ? undefined : "InvalidPassphrase";
}

function isPassphrase(passphrase: string, security: Security | undefined): boolean {
  const { length } = utf8(passphrase);
  // WPA3 has no limits of its own.
  const fits = security === "WPA" || security === "WPA2" ? length >= 8 && length <= 63 : length >= 1 && length <= 128;
  return (fits || KEY.test(passphrase)) && !CONTROLS.test(passphrase);
}

/** Whether a network of that protection has a Wi-Fi password; none if that is not known. */
export function needsPassphrase(security: Security | undefined): boolean | undefined {
  if (security === undefined || security === "UNKNOWN") {
    return undefined;
  }
  return !["OPEN", "OWE", "ENTERPRISE"].includes(security);
}

/** The fault of the command center's address, if any: http or https, a host, perhaps a port and a path, and nothing to repair. */
export function checkUrl(text: string): FaultName | undefined {
  const parts = /^(https?):\/\/([^/]+)(\/.*)?$/i.exec(text);
  if (parts === null || utf8(text).length > TEXT_LIMIT) {
    return "InvalidUrl";
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return "InvalidUrl";
  }
  const [, scheme = "", authority = "", path = ""] = parts;
  const port = scheme.toLowerCase() === "https" ? ":443" : ":80";
  const host = authority.toLowerCase();
  const isWrittenHost = (host.endsWith(port) ? host.slice(0, -port.length) : host) === url.host;
  const isPlain = url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  const isWrittenPath = path.replace(/\/+$/, "") === url.pathname.replace(/\/+$/, "");
  return isPlain && isWrittenHost && isWrittenPath && !/[?#]/.test(text) ? undefined : "InvalidUrl";
}

/** The fault of a device's id, if any. */
export function checkNodeId(text: string): FaultName | undefined {
  return NODE_ID.test(text) ? undefined : "InvalidNodeId";
}

/** The fault of a provisioning token, if any. */
export function checkToken(text: string): FaultName | undefined {
  return isText(text, 1) ? undefined : "InvalidToken";
}

/**
 * Every field that the node would refuse, with its fault. Without `security`, credentials without a network are good, too: the node
 * may be online already.
 */
export function checkCredentials(credentials: Credentials, security?: Security): Partial<Record<Field, FaultName>> {
  const { room = "", householdId = "", configServiceUrl = "", provisionCode = "" } = credentials;
  const hasNetwork = security !== undefined || credentials.ssid.length > 0 || credentials.passphrase !== "";
  const checks: Record<Field, FaultName | undefined> = {
    ssid: hasNetwork ? checkSsid(credentials.ssid) : undefined,
    passphrase: checkPassphrase(credentials.passphrase, security),
    room: isText(room) ? undefined : "InvalidRoom",
    commandCenterUrl: checkUrl(credentials.commandCenterUrl),
    configServiceUrl: configServiceUrl === "" || checkUrl(configServiceUrl) === undefined ? undefined : "InvalidConfigServiceUrl",
    householdId: isText(householdId) ? undefined : "InvalidHouseholdId",
    nodeId: checkNodeId(credentials.nodeId),
    provisioningToken: checkToken(credentials.provisioningToken),
    provisionCode: provisionCode === "" || isProvisionCode(provisionCode) ? undefined : "InvalidProvisionCode",
  };
  return Object.fromEntries(Object.entries(checks).filter(([, fault]) => fault !== undefined));
}

/** Whether a text has so many bytes, and no control characters. */
export function isText(text: string, shortest = 0, longest = TEXT_LIMIT): boolean {
  const { length } = utf8(text);
  return length >= shortest && length <= longest && !CONTROLS.test(text);
}

function isProvisionCode(text: string): boolean {
  return PROVISION_CODE.test(
    text
      .trim()
      .replace(/^osiris:\/\//i, "")
      .replace(/[\s-]/g, ""),
  );
}
