/**
 * Provisions a node over HTTP; as docs/phone-quickstart.md quotes it. The values come from the environment, which other users
 * cannot read.
 */

import { HttpTransport, PairingSecret, Phone, checkCredentials, newRequestId } from "@jarvis/provisioning";

const {
  JARVIS_NODE = "",
  JARVIS_CODE = "",
  JARVIS_SSID = "",
  JARVIS_PASSPHRASE = "",
  JARVIS_CENTER = "",
  JARVIS_ORDER = "",
} = process.env;

const phone = new Phone(new HttpTransport(JARVIS_NODE));
console.log(`node: ${(await phone.info()).name}`);
await phone.pair(PairingSecret.parse(JARVIS_CODE));
for (const { ssid, signalDbm } of await phone.scan()) {
  console.log(`network: ${new TextDecoder().decode(ssid)}, ${signalDbm} dBm`);
}

// The command center's answer to POST /api/v0/provisioning/token.
const { node_id: nodeId, token: provisioningToken } = JSON.parse(JARVIS_ORDER);
const order = { commandCenterUrl: JARVIS_CENTER, nodeId, provisioningToken };
const credentials = { ...order, requestId: newRequestId(), ssid: JARVIS_SSID, passphrase: JARVIS_PASSPHRASE };
console.log("wrong fields:", checkCredentials(credentials));
const outcome = await phone.bringOnline(credentials, {
  onProgress: (progress) =>
    console.log(progress.kind === "status" ? `${progress.status.state} ${progress.status.percent} %` : progress.kind),
});
console.log(outcome.fault?.name ?? outcome.state);
await phone.close();
