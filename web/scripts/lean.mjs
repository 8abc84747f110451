// Leaves out the methods of generated messages that nothing calls: a phone encodes what it sends and decodes what it receives. A
// bundler keeps all methods of an object.

import { readFileSync, readdirSync } from "node:fs";

const FOLDER = "client/src";
const METHOD = /^  (encode|decode)\([^]*?\n  \},\n\n?/gm;
const MESSAGE = /^export const (\w+): MessageFns<\w+> = \{\n[^]*?\n\};\n/gm;
// `Open.encode(…)` in the generated code, and `encode(sealed.Open, …)` in the client's.
const CALL = /\b([A-Z]\w*)\.(encode|decode)\(|\b(encode|decode)\(\s*(?:sealed|wire)\.(\w+)/g;

// A plugin for esbuild.
export function lean() {
  const called = reached();
  return {
    name: "lean",
    setup(build) {
      build.onLoad({ filter: /\/generated\/.*\.ts$/ }, ({ path }) => ({
        loader: "ts",
        contents: readFileSync(path, "utf8").replace(MESSAGE, (message, name) =>
          message.replace(METHOD, (method, kind) => (called.has(`${name}.${kind}`) ? method : "")),
        ),
      }));
    },
  };
}

// A plugin that leaves out the texts of faults of logins to enterprise networks, which the setup page cannot send. It shows such a
// fault of another client by its number.
export function withoutLogins() {
  const FIRST = 80;
  return {
    name: "without-logins",
    setup(build) {
      build.onLoad({ filter: /\/catalogue\.json$/ }, ({ path }) => {
        const { faults, ...others } = JSON.parse(readFileSync(path, "utf8"));
        const contents = JSON.stringify({ ...others, faults: faults.filter(({ number }) => number < FIRST) });
        return { loader: "json", contents };
      });
    },
  };
}

// The methods that the client calls, and those that they call, such as `Open.encode`. Names are unique in the package.
function reached() {
  const files = readdirSync(FOLDER, { recursive: true }).filter((name) => name.endsWith(".ts"));
  const sources = files.map((name) => [name.includes("generated"), readFileSync(`${FOLDER}/${name}`, "utf8")]);
  const methods = new Map();
  for (const [, source] of sources.filter(([isGenerated]) => isGenerated)) {
    for (const [message, name] of source.matchAll(MESSAGE)) {
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
