/** The texts of the page of network care in its languages. */

import { Catalogue, LANGUAGES, visible } from "../language.js";
import type { Language } from "../language.js";
import advice from "./advice.json" with { type: "json" };
import texts from "./texts.json" with { type: "json" };

/** The name of a text. */
export type Key = keyof typeof texts;

const catalogue = new Catalogue<Key>(texts);

/** A text; `{0}` and so on are replaced. */
export function text(key: Key, ...values: readonly (string | number)[]): string {
  return catalogue.text(key, ...values);
}

/** The page's language. */
export function language(): Language {
  return catalogue.language;
}

/** A text with this name, if there is one; else the name, in which what could deceive is visible. */
export function named(prefix: string, name: string): string {
  const key = `${prefix}.${name}`;
  return key in texts ? text(key as Key) : visible(name);
}

/** What the node advises, and the language of the words: the node's own English for what the page does not know. */
export function advised(english: string): [words: string, language: Language] {
  const translated = (advice as Record<string, readonly string[]>)[english]?.[LANGUAGES.indexOf(language()) - 1];
  return translated === undefined ? [english, "en"] : [translated, language()];
}

/** A time in the page's language, by the phone's zone. */
export function time(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.valueOf()) ? "" : date.toLocaleString(catalogue.language, { dateStyle: "short", timeStyle: "medium" });
}

/** Writes every fixed text of the page in a language. */
export function translate(wanted: Language): void {
  catalogue.translate(wanted);
  document.title = text("title");
}
