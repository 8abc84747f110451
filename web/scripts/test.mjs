// Bundles the tests and runs them: `node scripts/test.mjs [part of a file's name [pattern of test names]]`. Types are checked by `npm run check`.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";

import { build } from "esbuild";

const [wanted = "", pattern = "."] = process.argv.slice(2);
const folders = ["client/test", "page/test", "site/test"];
const tests = folders.filter(existsSync).flatMap((folder) => readdirSync(folder).map((file) => `${folder}/${file}`));
const entryPoints = tests.filter((file) => file.endsWith(".test.ts") && file.includes(wanted));

rmSync("build/test", { recursive: true, force: true });
await build({
  entryPoints,
  bundle: true,
  packages: "external",
  alias: { "@jarvis/provisioning": "./client/src/index.ts" },
  platform: "node",
  format: "esm",
  sourcemap: "inline",
  outdir: "build/test",
  outbase: ".",
  logLevel: "warning",
});
const built = entryPoints.map((file) => `build/test/${file.replace(/\.ts$/, ".js")}`);
const options = [
  "--enable-source-maps",
  "--test",
  "--test-reporter=spec",
  "--test-timeout=300000",
  // The tests in a browser wait most of the time, so that three fit on two processors.
  `--test-concurrency=${Math.max(3, availableParallelism() - 1)}`,
  `--test-name-pattern=${pattern}`,
];
const { status } = spawnSync(process.execPath, [...options, ...built], { stdio: "inherit" });
process.exit(status ?? 1);
