/** The page's texts in its languages. The errors' texts come from the client's catalogue. */

import type { Language } from "../client/src/index.js";
import { LANGUAGES } from "../client/src/index.js";
import texts from "./texts.json" with { type: "json" };

/** The name of a text. */
export type Key = keyof typeof texts;

const SHOWN = "data-t";
const catalogue: Record<string, readonly string[]> = { ...texts };
let language: Language = "en";

/** The language of the page. */
export function current(): Language {
  return language;
}

/** Adds texts, or replaces those of the same name: another way to the node needs other words. */
export function extend(more: Readonly<Record<string, readonly string[]>>): void {
  Object.assign(catalogue, more);
}

/** The first language of the owner that the page has. */
export function preferred(wanted: readonly string[]): Language {
  const known = wanted.map((tag) => LANGUAGES.find((candidate) => tag.toLowerCase().split("-")[0] === candidate));
  return known.find((candidate) => candidate !== undefined) ?? "en";
}

/** A text; `{0}` and so on are replaced. */
export function text(key: Key, ...values: readonly (string | number)[]): string {
  const found = catalogue[key]?.[LANGUAGES.indexOf(language)] ?? key;
  return found.replace(/\{(\d)\}/g, (_, index: string) => String(values[Number(index)] ?? ""));
}

/** Writes every fixed text of the page in a language. */
export function translate(wanted: Language): void {
  language = wanted;
  document.documentElement.lang = wanted;
  document.documentElement.dir = wanted === "ar" ? "rtl" : "ltr";
  for (const element of document.querySelectorAll(`[${SHOWN}]`)) {
    element.textContent = text(element.getAttribute(SHOWN) as Key);
  }
  document.title = text("title");
}
