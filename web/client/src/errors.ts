/** The errors of this package: the faults that a node reports, by name, and the phone's own. */

import catalogue from "../catalogue.json" with { type: "json" };
import type { Fault as FaultNumber } from "./generated/decode/jarvis/provisioning/v1/fault.js";

/** Languages of the error texts. */
export type Language = "en" | "de" | "ar";

/** The languages of the error texts; the first is the default. Arabic is written from right to left. */
export const LANGUAGES: readonly Language[] = ["en", "de", "ar"];

type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Capitalize<Lowercase<Head>>}${Camel<Tail>}`
  : Capitalize<Lowercase<Name>>;

/** The name of a fault, as in the document's table without `FAULT_`: `WRONG_PASSWORD` is `WrongPassword`. */
export type FaultName = Camel<Exclude<keyof typeof FaultNumber, "UNSPECIFIED" | "UNRECOGNIZED">>;

/** The name of a failure that the phone itself detects. */
export type LocalName =
  "LinkLost" | "TimedOut" | "UnexpectedAnswer" | "AnotherDevice" | "NoSession" | "CannotCancel" | "InvalidCode" | "UnknownFault";

/** The name of any error of this package. */
export type ErrorName = FaultName | LocalName;

/** A fault in the list that node and phone share. */
export interface Fault {
  readonly name: FaultName;
  /** The number in `fault.proto`. */
  readonly number: number;
  /** Whether the same request can succeed later unchanged. */
  readonly retry: boolean;
}

interface Texts {
  readonly name: string;
  readonly en: string;
  readonly de: string;
  readonly ar: string;
}

/** Every fault, in the order of the core. */
export const FAULTS: readonly Fault[] = catalogue.faults.map(({ name, number, retry }) => ({
  name: name as FaultName,
  number,
  retry,
}));

const NUMBERS = new Map(FAULTS.map((fault) => [fault.number, fault]));
const TEXTS = new Map<string, Texts>([...catalogue.faults, ...catalogue.errors].map((row) => [row.name, row]));

/** The name of the fault with a number; none if this package does not know it. */
export function faultName(number: number): FaultName | undefined {
  return NUMBERS.get(number)?.name;
}

/** One sentence for the owner. A fault that a newer node added is shown by its number. */
export function errorText(name: ErrorName, language: Language = "en", number?: number): string {
  const text = TEXTS.get(name)?.[language] ?? name;
  return name === "UnknownFault" && number !== undefined ? `${text} (${number})` : text;
}

/** What is known about an error beside its name. */
export interface ErrorDetails {
  /** The number of a fault. */
  number?: number | undefined;
  /** With `Locked`: how long to wait before the next guess. */
  retryAfterSeconds?: number | undefined;
  /** The node ended the session, or refused outside of one. */
  unsealed?: boolean | undefined;
}

/**
 * Every failure of this package. `name` says which; `message` is the English text. It never contains a secret or a part of
 * a message.
 */
export class ProvisioningError extends Error {
  override readonly name: ErrorName;
  /** The number, if the node has reported a fault. */
  readonly number: number | undefined;
  /** With `Locked`: how long to wait before the next guess, seconds. */
  readonly retryAfterSeconds: number;
  /** The refusal came in clear, so anyone nearby can have sent it. */
  readonly unsealed: boolean;

  constructor(name: ErrorName, details: ErrorDetails = {}) {
    super(errorText(name, "en", details.number));
    this.name = name;
    this.number = details.number;
    this.retryAfterSeconds = details.retryAfterSeconds ?? 0;
    this.unsealed = details.unsealed ?? false;
  }

  /** The error for a fault's number. */
  static ofFault(number: number, details: ErrorDetails = {}): ProvisioningError {
    return new ProvisioningError(faultName(number) ?? "UnknownFault", { ...details, number });
  }

  /** One sentence for the owner. */
  text(language: Language = "en"): string {
    return errorText(this.name, language, this.number);
  }
}
