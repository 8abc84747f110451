/** The languages of the pages, and catalogues of their texts. */

/** The languages, in the order of every catalogue; the first is the default. Arabic is written from right to left. */
export const LANGUAGES = ["en", "de", "ar"] as const;

/** A language of the pages. */
export type Language = (typeof LANGUAGES)[number];

/** Texts by their names, in the order of {@link LANGUAGES}. */
type Texts<Key extends string> = Readonly<Record<Key, readonly string[]>>;

/** Names the text of an element. */
const SHOWN = "data-t";

/** The first language of the owner that the pages have. */
export function preferred(wanted: readonly string[]): Language {
  const known = wanted.map((tag) => LANGUAGES.find((candidate) => tag.toLowerCase().split("-")[0] === candidate));
  return known.find((candidate) => candidate !== undefined) ?? "en";
}

/** The texts of a page in its current language. */
export class Catalogue<Key extends string> {
  readonly #texts: Record<Key, readonly string[]>;
  #language: Language = "en";

  constructor(texts: Texts<Key>) {
    this.#texts = { ...texts };
  }

  get language(): Language {
    return this.#language;
  }

  /** Adds texts, or replaces those of the same name. */
  extend(more: Readonly<Record<string, readonly string[]>>): void {
    Object.assign(this.#texts, more);
  }

  /** A text; `{0}` and so on are replaced. The values may come from others, so what could deceive in them is made visible. */
  text(key: Key, ...values: readonly (string | number)[]): string {
    const found = this.#texts[key][LANGUAGES.indexOf(this.#language)] ?? key;
    return found.replace(/\{(\d)\}/g, (_, index: string) => visible(String(values[Number(index)] ?? "")));
  }

  /** Writes every fixed text of the page in a language. */
  translate(wanted: Language): void {
    this.#language = wanted;
    document.documentElement.lang = wanted;
    document.documentElement.dir = wanted === "ar" ? "rtl" : "ltr";
    for (const element of document.querySelectorAll(`[${SHOWN}]`)) {
      const key = element.getAttribute(SHOWN) as Key;
      const [english, ...others] = this.#texts[key];
      // The build leaves English texts that the document has out of the script.
      this.#texts[key] = [english || element.textContent, ...others];
      element.textContent = this.text(key);
    }
  }
}

/** Characters that change the direction of text, or are not shown. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text of others, in which what could deceive is made visible. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (letter) => `\\u{${letter.charCodeAt(0).toString(16)}}`);
}
