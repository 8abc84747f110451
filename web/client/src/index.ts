/** The phone's side of the jarvis provisioning protocol. Start with {@link Phone}. */

export { blePlx } from "./ble-plx.js";
export type { PlxCharacteristic, PlxDevice, PlxSubscription } from "./ble-plx.js";
export { NetworkCare } from "./care.js";
export type { CareEvent, CareStatus, Label, LayerReport, NewEvents, SavedNetwork } from "./care.js";
export { ENDPOINTS, SERVICE } from "./endpoint.js";
export type { Endpoint, Readable, Writable } from "./endpoint.js";
export { checkEnterprise } from "./enterprise.js";
export type { LoginField } from "./enterprise.js";
export { FAULTS, LANGUAGES, ProvisioningError, errorText, faultName } from "./errors.js";
export type { ErrorName, Fault, FaultName, Language, LocalName } from "./errors.js";
export { GattTransport } from "./gatt.js";
export type { Connect, GattConnection } from "./gatt.js";
export { HttpTransport } from "./http.js";
export type { Fetch, HttpOptions } from "./http.js";
export { newRequestId } from "./messages.js";
export type {
  Credentials,
  EapMethod,
  Enterprise,
  Info,
  K2,
  Network,
  PublicStatus,
  Security,
  State,
  Status,
  StatusFault,
} from "./messages.js";
export { Phone } from "./phone.js";
export type { AttemptOptions, PhoneOptions, Progress } from "./phone.js";
export { PairingSecret } from "./secret.js";
export type { Clock, Transport } from "./transport.js";
export { checkCredentials, checkNodeId, checkPassphrase, checkSsid, checkToken, checkUrl, needsPassphrase } from "./validate.js";
export type { Field } from "./validate.js";
export { requestNode, webBluetooth } from "./web-bluetooth.js";
