// What makes the scripts that the node sends small: their texts in another order, no texts of the libraries' errors, and a second
// minifier.

import { readFileSync } from "node:fs";

import { parse } from "acorn";
import { minify } from "terser";

/** Names the text of an element. */
export const SHOWN = /(data-t="([^"]+)"[^>]*>)(?=<)/g;

// A plugin for esbuild: tables of texts column by column, because the texts of one language are more like each other. English texts
// that the `document` has are left out; `Catalogue` takes them from there.
export function columns(document) {
  const inDocument = new Set([...document.matchAll(SHOWN)].map(([, , key]) => key));
  const table = (object) => {
    const rows = Object.entries(object).map(([key, [english, ...others]]) => [key, inDocument.has(key) ? "" : english, ...others]);
    return `Object.fromEntries(rows(${written(rows)}).map(([key,...texts])=>[key,texts]))`;
  };
  const records = (list) => {
    const keys = Object.keys(list[0]);
    const values = list.map((record) => keys.map((key) => record[key]));
    return `rows(${written(values)}).map((row)=>Object.fromEntries(${JSON.stringify(keys)}.map((key,index)=>[key,row[index]])))`;
  };
  return {
    name: "columns",
    setup({ onLoad }) {
      onLoad({ filter: /\/(texts|advice)\.json$/ }, ({ path }) => module(table(read(path))));
      onLoad({ filter: /\/catalogue\.json$/ }, ({ path }) => {
        const { faults, errors } = read(path);
        return module(`{faults:${records(faults)},errors:${records(errors)}}`);
      });
    },
  };
}

// Texts are written as one, because lines weigh less than quotes.
function written(rows) {
  if (rows.some((row) => row.length !== rows[0].length || row.some((value) => String(value).includes("\n")))) {
    throw new Error("a table has rows of one length, and texts of one line");
  }
  const columns = rows[0].map((_, index) => rows.map((row) => row[index]));
  return columns.map((column) =>
    column.every((value) => typeof value === "string")
      ? `${JSON.stringify(column.join("\n"))}.split("\\n")`
      : JSON.stringify(column),
  );
}

function module(expression) {
  const rows = "const rows=(first,...others)=>first.map((value,index)=>[value,...others.map((column)=>column[index])]);";
  return { loader: "js", contents: `${rows}export default ${expression};` };
}

function read(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

// A plugin: what the libraries' errors say, which nobody reads, because the client shows its own texts.
export function quiet() {
  const load = ({ path }) => ({ loader: "js", contents: withoutReasons(readFileSync(path, "utf8")) });
  return { name: "quiet", setup: ({ onLoad }) => onLoad({ filter: /\/node_modules\/@(noble|bufbuild)\/.*\.js$/ }, load) };
}

function withoutReasons(source) {
  const thrown = nodes(parse(source, { ecmaVersion: "latest", sourceType: "module" })).filter(
    ({ type, argument }) => type === "ThrowStatement" && argument.type === "NewExpression" && argument.arguments.length > 0,
  );
  // From the end, so that what comes before keeps its place.
  return thrown.reverse().reduce((text, { argument: { arguments: reasons } }) => {
    return text.slice(0, reasons[0].start) + text.slice(reasons.at(-1).end);
  }, source);
}

// A node of the syntax tree and all below, in the order of the source.
function nodes(node) {
  const children = Object.values(node)
    .flat()
    .filter((value) => typeof value?.type === "string");
  return [node, ...children.flatMap(nodes)];
}

// A bundle, minified again, by a minifier that takes longer and finds more.
export async function minified(bundle, preamble) {
  const { code } = await minify(bundle, {
    module: true,
    ecma: 2021,
    compress: { passes: 2, keep_fargs: false },
    format: { comments: false, preamble },
  });
  return code;
}
