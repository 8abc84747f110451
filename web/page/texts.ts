/** The texts of the setup page in its languages. The errors' texts come from the client's catalogue. */

import { Catalogue } from "./language.js";
import type { Language } from "./language.js";
import texts from "./texts.json" with { type: "json" };

export { preferred } from "./language.js";

/** The name of a text. */
export type Key = keyof typeof texts;

const catalogue = new Catalogue<Key>(texts);

/** The language of the page. */
export function current(): Language {
  return catalogue.language;
}

/** Adds texts, or replaces those of the same name: another way to the node needs other words. */
export function extend(more: Readonly<Record<string, readonly string[]>>): void {
  catalogue.extend(more);
}

/** A text; `{0}` and so on are replaced. */
export function text(key: Key, ...values: readonly (string | number)[]): string {
  return catalogue.text(key, ...values);
}

/** Writes every fixed text of the page in a language. */
export function translate(wanted: Language): void {
  catalogue.translate(wanted);
  document.title = text("title");
}
