/** The site's own texts, and those of the setup page that differ over Bluetooth. */

import { extend, text } from "../page/texts.js";
import type { Key } from "../page/texts.js";
import texts from "./texts.json" with { type: "json" };

/** The name of a text of the site. */
export type SiteKey = keyof typeof texts;

/** Adds the texts to the page's. It is called before the setup starts. */
export function addTexts(): void {
  extend(texts);
}

/** Writes a text into an element; a change of the language writes it again. */
export function write(place: HTMLElement, key: SiteKey | Key): void {
  place.dataset["t"] = key;
  place.textContent = text(key as Key);
}

/** A text of the site. */
export function siteText(key: SiteKey): string {
  return text(key as Key);
}
