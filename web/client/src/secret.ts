/** The pairing secret, as the owner gives it. */

import { utf8, wipe } from "./bytes.js";
import { ProvisioningError } from "./errors.js";

const CODE = /^[0-9]{6}$/;
const QR = /^JARVIS:1:([^:]+):([0-9A-Fa-f]{32})(?::.*)?$/;

/** The secret on a node's label: the code, or the content of its QR code. It appears in no text, log or JSON. */
export class PairingSecret {
  /** Which of the two it is. */
  readonly kind: "code" | "qr";
  /** The name on the label, if the QR code was read: the node that advertises it is the one to connect to. */
  readonly nodeName: string | undefined;
  readonly #bytes: Uint8Array;

  private constructor(kind: "code" | "qr", bytes: Uint8Array, nodeName?: string) {
    this.kind = kind;
    this.#bytes = bytes;
    this.nodeName = nodeName;
  }

  /**
   * Reads six digits, which may be grouped with spaces or hyphens, or the text of the label's QR code.
   *
   * @throws {ProvisioningError} `InvalidCode`
   */
  static parse(text: string): PairingSecret {
    const qr = QR.exec(text.trim());
    if (qr?.[1] !== undefined && qr[2] !== undefined) {
      const digits = qr[2].match(/../g) ?? [];
      return new PairingSecret(
        "qr",
        Uint8Array.from(digits, (byte) => parseInt(byte, 16)),
        qr[1],
      );
    }
    const code = text.replace(/[\s-]/g, "");
    if (!CODE.test(code)) {
      throw new ProvisioningError("InvalidCode");
    }
    return new PairingSecret("code", utf8(code));
  }

  /** The bytes for the handshake: six digits, or 16 bytes. */
  expose(): Uint8Array {
    return this.#bytes;
  }

  /** Erases the secret. A handshake with it fails from then on. */
  wipe(): void {
    wipe(this.#bytes);
  }
}
