// Writes the texts of the form without a script as Rust. Texts that the page has, too, are taken from its catalogue; those of the
// faults from the client's.

import { readFileSync } from "node:fs";

export const TARGET = "../src/link/http/form/texts.rs";

const read = (name) => JSON.parse(readFileSync(name, "utf8"));

export function texts() {
  const page = read("page/texts.json");
  const own = Object.entries(read("page/form.json")).map(([name, text]) => [name, typeof text === "string" ? page[text] : text]);
  const fields = own.map(([name]) => `    pub(super) ${name}: &'static str,`);
  const tables = [0, 1, 2].map((language) => [
    "    Texts {",
    ...own.map(([name, text]) => `        ${name}: ${literal(text[language])},`),
    "    },",
  ]);
  const faults = read("client/catalogue.json").faults.map(
    ({ name, de, ar }) => `        Fault::${name} => [${literal(de)}, ${literal(ar)}],`,
  );
  return [
    "//! The texts of the form. Written by `npm run build` in `web/` from its catalogues. Do not edit.",
    "",
    "use provisioning_core::fault::Fault;",
    "",
    "/// The texts in one language; `{0}` is replaced.",
    "pub(super) struct Texts {",
    ...fields,
    "}",
    "",
    "/// English, German, Arabic.",
    `pub(super) static TEXTS: [Texts; ${tables.length}] = [`,
    ...tables.flat(),
    "];",
    "",
    "/// The text of a fault in German and in Arabic.",
    "pub(super) const fn translated(fault: Fault) -> [&'static str; 2] {",
    "    match fault {",
    ...faults,
    "    }",
    "}",
    "",
  ].join("\n");
}

// JSON's escapes that these texts need, `\"` and `\\`, are Rust's, too.
function literal(text) {
  return JSON.stringify(text);
}
