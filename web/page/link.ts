/** The way from the setup to the node: the page's own server, or a device that the owner chooses. */

import type { PairingSecret, Transport } from "../client/src/index.js";

/** How the setup reaches the node. */
export interface Link {
  readonly transport: Transport;
  /**
   * Lets the owner choose the node; called from a click, before each handshake. Returns whether the node can be read then, and
   * says why not. Absent if the page came from the node.
   */
  readonly choose?: (secret: PairingSecret) => Promise<boolean>;
  /** Keeps the code of a link until the next click. Absent if it starts the setup at once. */
  readonly keep?: (code: string) => void;
}
