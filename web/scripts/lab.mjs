// Drives a browser of this machine for the laboratory; started by `tests/lab/run --browser` with the arguments of lab/drive.ts.

import { build } from "esbuild";

await build({
  entryPoints: ["lab/drive.ts"],
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  sourcemap: "inline",
  outdir: "build/lab",
  logLevel: "warning",
});
await import("../build/lab/drive.js");
