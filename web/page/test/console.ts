/** What Chromium itself says to the console, beside what a page says. */

/** A hint for its password manager: one form has the fields of every kind of network. */
const HINT = "[DOM] Multiple forms should be contained in their own form elements";

/** What was not reached, or refused as the test wants it. Only the browser says so, and only in its console. */
export function isFailedLoad(text: string): boolean {
  return text.startsWith("Failed to load resource: ");
}

/** A hint about the document that changes nothing. */
export function isHint(text: string): boolean {
  return text.startsWith(HINT);
}
