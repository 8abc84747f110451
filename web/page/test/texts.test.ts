/** The page's catalogue, and what it shows of a network's name. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { LANGUAGES } from "../../client/src/index.js";
import { countries, likely } from "../country.js";
import { takeOrder } from "../order.js";
import { visible } from "../language.js";
import { preferred } from "../texts.js";
import catalogue from "../../client/catalogue.json" with { type: "json" };
import advice from "../care/advice.json" with { type: "json" };
import care from "../care/texts.json" with { type: "json" };
import form from "../form.json" with { type: "json" };
import texts from "../texts.json" with { type: "json" };
import { nameOf } from "../view.js";

const HTML = readFileSync("page/index.html", "utf8");
const SCRIPTS = ["main", "details", "view", "texts"].map((name) => readFileSync(`page/${name}.ts`, "utf8")).join("\n");

test("every text exists in every language, with the same places", () => {
  const own = Object.entries(form).filter((entry): entry is [string, string[]] => typeof entry[1] !== "string");
  for (const [key, translations] of [...Object.entries(texts), ...own]) {
    assert.equal(translations.length, LANGUAGES.length, key);
    assert.equal(new Set(translations).size, LANGUAGES.length, key);
    const places = translations.map((translation) => (translation.match(/\{\d\}/g) ?? []).sort().join());
    assert.equal(new Set(places).size, 1, key);
  }
});

test("the form without a script takes texts that the page has", () => {
  for (const text of Object.values(form)) {
    assert.ok(typeof text !== "string" || text in texts, String(text));
  }
});

test("no text has characters that are not shown", () => {
  for (const text of [texts, form, advice, care, catalogue].flatMap((table) => JSON.stringify(Object.entries(table)))) {
    assert.equal(visible(text), text);
  }
});

test("every text is used, and every text that is used exists", () => {
  const used = [...HTML.matchAll(/data-t="([^"]+)"/g), ...SCRIPTS.matchAll(/"([a-z.]+)"/g)].map(([, key]) => key);
  for (const key of Object.keys(texts)) {
    assert.ok(used.includes(key), `${key} is used`);
  }
  for (const [, key] of HTML.matchAll(/data-t="([^"]+)"/g)) {
    assert.ok(key !== undefined && key in texts, `${key} is in the catalogue`);
  }
});

test("the owner's first known language is used", () => {
  assert.deepEqual(
    [preferred(["fr", "DE-at", "en"]), preferred(["ar-EG"]), preferred(["fr"]), preferred([])],
    ["de", "ar", "en", "en"],
  );
});

test("the countries are those of ISO 3166-1, by their names in the owner's language", () => {
  const codes = countries("en").map(([code]) => code);
  assert.equal(codes.length, 249);
  assert.deepEqual(
    ["DE", "US", "SX", "DD", "SU", "EU", "UK", "ZZ", "XK"].map((code) => codes.includes(code)),
    [true, true, true, false, false, false, false, false, false],
  );
  const names = countries("de").map(([, name]) => name);
  assert.equal(names.indexOf("Ägypten") - names.indexOf("Afghanistan"), 1);
});

test("the owner's likely country is one that a language names", () => {
  const found = [["de-AT"], ["en", "fr-CH"], ["zh-Hant"], ["de"], []].map(likely);
  assert.deepEqual(found, ["AT", "CH", "TW", "DE", ""]);
});

test("a network's name shows what could deceive", () => {
  const name = (text: string) => nameOf(new TextEncoder().encode(text));
  assert.equal(name("<b>Café</b>"), "<b>Café</b>");
  assert.equal(name("a\u202eb\u0000\u200b"), "a\\u{202e}b\\u{0}\\u{200b}");
  assert.equal(nameOf(Uint8Array.of(0xff, 0x41)), "\ufffdA");
});

test("a link's values are taken out of the address", () => {
  const replaced: unknown[] = [];
  const past = { replaceState: (...values: unknown[]) => replaced.push(values) } as unknown as History;
  const place = { hash: "#code=042137&center=http%3A%2F%2Fa&node=n&token=t&other=x", pathname: "/", search: "" } as Location;
  const empty = { householdId: "", room: "" };
  assert.deepEqual(takeOrder(place, past), {
    ...empty,
    code: "042137",
    commandCenterUrl: "http://a",
    nodeId: "n",
    provisioningToken: "t",
  });
  assert.deepEqual(replaced, [[null, "", "/"]]);
  takeOrder({ ...place, hash: "" }, past);
  assert.equal(replaced.length, 1);
});
