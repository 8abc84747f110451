// Leaves out of a bundle what nothing in it uses, and what a bundler keeps: methods of objects and classes, and texts of errors.

import { readFileSync, readdirSync } from "node:fs";

const FOLDER = "client/src";
const GENERATED = /\/generated\/.*\.ts$/;
const METHOD = /^  (encode|decode)\([^]*?\n  \},\n\n?/gm;
const MESSAGE = /^export const (\w+): MessageFns<\w+> = \{\n[^]*?\n\};\n/gm;
// `Open.encode(…)` in the generated code, and `encode(sealed.Open, …)` in the client's.
const CALL = /\b([A-Z]\w*)\.(encode|decode)\(|\b(encode|decode)\(\s*(?:sealed|wire)\.(\w+)/g;
// A kind of a `oneof` where it is encoded, and where it is decoded.
const SENT = /^ {6}case "(\w+)":\n.*\n {8}break;\n/gm;
const RECEIVED =
  /^ {10}case \d+: \{\n {12}if .*\n {14}break;\n {12}\}\n\n {12}message\.kind = \{ \$case: "(\w+)".*\n {12}continue;\n {10}\}\n/gm;
// A method of a class, and a text of an error, in the libraries' files.
const CLASS_METHOD = /^ {4}(\w+)\(.*\) \{\n[^]*?\n {4}\}\n/gm;
const REASON = /\bthrow new (\w*Error)\(.*\);$/gm;

// A plugin for esbuild: methods of generated messages that nothing calls, because a phone encodes what it sends and decodes what it
// receives. `without`: kinds of requests and replies that the bundle does not use.
export function lean({ without = [] } = {}) {
  const used = (source) => source.replace(SENT, drop(without)).replace(RECEIVED, drop(without));
  const called = reached(used);
  return onLoad("lean", GENERATED, "ts", (source) =>
    used(source).replace(MESSAGE, (message, name) =>
      message.replace(METHOD, (method, kind) => (called.has(`${name}.${kind}`) ? method : "")),
    ),
  );
}

// A plugin: what the page does not need of the libraries. Methods for types that no message has, and the texts of errors, because the
// client shows its own.
export function leanLibraries() {
  const users = readFiles().map(([, source]) => source);
  return onLoad("lean-libraries", /\/node_modules\/@(noble|bufbuild)\/.*\.js$/, "js", (source, path) => {
    const quiet = source.replace(REASON, "throw new $1();");
    return path.endsWith("/binary-encoding.js") ? withoutMethods(quiet, users) : quiet;
  });
}

// Leaves out methods of classes that neither the others of the file call nor its users.
function withoutMethods(source, users) {
  const isUnused = (name) => name !== "constructor" && ![source, ...users].some((text) => text.includes(`.${name}(`));
  const names = [...source.matchAll(CLASS_METHOD)].map(([, name]) => name).filter(isUnused);
  return names.length === 0 ? source : withoutMethods(source.replace(CLASS_METHOD, drop(names)), users);
}

// A plugin: what `isWanted` does not choose of the client's catalogue, by the numbers of the faults. The phone's own errors have 0.
export function faults(isWanted) {
  const wanted = (rows) => rows.filter(({ number = 0 }) => isWanted(number));
  return onLoad("faults", /\/catalogue\.json$/, "json", (source) => {
    const { faults, errors } = JSON.parse(source);
    return JSON.stringify({ faults: wanted(faults), errors: wanted(errors) });
  });
}

function onLoad(name, filter, loader, change) {
  const load = ({ path }) => ({ loader, contents: change(readFileSync(path, "utf8"), path) });
  return { name, setup: (build) => build.onLoad({ filter }, load) };
}

function drop(names) {
  return (text, name) => (names.includes(name) ? "" : text);
}

// The client's files: whether it is generated, and its source.
function readFiles() {
  const files = readdirSync(FOLDER, { recursive: true }).filter((name) => name.endsWith(".ts"));
  return files.map((name) => [name.includes("generated"), readFileSync(`${FOLDER}/${name}`, "utf8")]);
}

// The methods that the client calls, and those that they call, such as `Open.encode`. Names are unique in the package.
function reached(used) {
  const sources = readFiles();
  const methods = new Map();
  for (const [, source] of sources.filter(([isGenerated]) => isGenerated)) {
    for (const [message, name] of used(source).matchAll(MESSAGE)) {
      for (const [method, kind] of message.matchAll(METHOD)) {
        methods.set(`${name}.${kind}`, method);
      }
    }
  }
  const found = new Set();
  const take = (text) => {
    for (const [, name, kind, clientKind, clientName] of text.matchAll(CALL)) {
      const method = `${name ?? clientName}.${kind ?? clientKind}`;
      if (methods.has(method) && !found.has(method)) {
        found.add(method);
        take(methods.get(method));
      }
    }
  };
  sources.filter(([isGenerated]) => !isGenerated).forEach(([, source]) => take(source));
  return found;
}
