/** Countries, by the browser's own tables: the radio's channels depend on the country. */

/** Two letters that the tables know, but that are no country of ISO 3166-1. */
const OTHERS = "AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ";

const LETTERS = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];

/** The countries and their names in a language, sorted by the names. */
export function countries(language: string): readonly (readonly [code: string, name: string])[] {
  const names = new Intl.DisplayNames([language], { type: "region", fallback: "none" });
  const found = LETTERS.flatMap((first) => LETTERS.map((second) => first + second)).flatMap((code) => {
    // A former country has the code of another one.
    const isCurrent = new Intl.Locale(`und-${code}`).region === code && !OTHERS.includes(code);
    const name = isCurrent ? names.of(code) : undefined;
    return name === undefined ? [] : [[code, name] as const];
  });
  return found.sort(([, one], [, other]) => one.localeCompare(other, language));
}

/** The country that the owner's languages name, or else the largest one where the first of them is spoken. */
export function likely(languages: readonly string[]): string {
  const locales = languages.map((tag) => new Intl.Locale(tag));
  return locales.find(({ region }) => region !== undefined)?.region ?? locales[0]?.maximize().region ?? "";
}
