/** The setup page of a node: it reaches the node that it came from. The page of network care takes the client from this script. */

import { HttpTransport, PairingSecret, Phone } from "../client/src/index.js";
import { setUp } from "./main.js";

// The mark tells the node that this is no app: phones close this page once their probes get the answers of the internet.
const marked = (url: string, init: RequestInit) => fetch(url, { ...init, headers: { ...init.headers, "jarvis-page": "1" } });

const transport = new HttpTransport(location.origin, { fetch: marked });

if (document.getElementById("code") !== null) {
  setUp({ transport });
}

export { PairingSecret, Phone, transport };
