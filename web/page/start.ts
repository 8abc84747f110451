/** The setup page of a node: it reaches the node that it came from. */

import { HttpTransport } from "../client/src/index.js";
import { setUp } from "./main.js";

// The mark tells the node that this is no app: phones close this page once their probes get the answers of the internet.
const marked = (url: string, init: RequestInit) => fetch(url, { ...init, headers: { ...init.headers, "jarvis-page": "1" } });

setUp({ transport: new HttpTransport(location.origin, { fetch: marked }) });
