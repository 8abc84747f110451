/** The login to an enterprise network: its form, texts and faults are a file of their own, loaded when they are needed. */

import { addFaults, faultName } from "../client/src/errors.js";
import { ProvisioningError } from "../client/src/index.js";
import type { ErrorName, StatusFault } from "../client/src/index.js";
import { current, extend, translate } from "./texts.js";

type Form = typeof import("./enterprise.js");

/** The faults of a login. */
const FIRST_FAULT = 80;
const LAST_FAULT = 99;

let form: Form | undefined;

/** The form, if it is loaded. */
export function loadedLogin(): Form | undefined {
  return form;
}

/** Loads the form, and adds its texts and faults to those of the page. */
export async function loadLogin(): Promise<Form> {
  if (form === undefined) {
    form = await import("./enterprise.js").catch(() => {
      throw new ProvisioningError("LinkLost");
    });
    addFaults(form.faults);
    extend(form.texts);
    form.build();
    translate(current());
  }
  return form;
}

/** The name of a fault, whose text may have to be loaded first. */
export async function nameOfFault({ number }: StatusFault): Promise<ErrorName> {
  if (faultName(number) === undefined && number >= FIRST_FAULT && number <= LAST_FAULT) {
    // Without the text, the number is shown.
    await loadLogin().catch(() => undefined);
  }
  return faultName(number) ?? "UnknownFault";
}
