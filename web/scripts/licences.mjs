// Checks the dependencies in package-lock.json: their licences, exact versions, and how many a phone or browser loads.

import { readFileSync } from "node:fs";

const RUN_TIME_LIMIT = 8;
const RUN_TIME = ["MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "(Apache-2.0 AND BSD-3-Clause)"];
// Tools of the build and the tests; nothing of them is delivered.
const DEVELOPMENT = [...RUN_TIME, "BSD-2-Clause", "MPL-2.0"];

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const installed = Object.entries(packages).filter(([path, entry]) => path.startsWith("node_modules/") && entry.link !== true);
const runTime = installed.filter(([, entry]) => entry.dev !== true);

const problems = installed
  .filter(([, entry]) => !(entry.dev === true ? DEVELOPMENT : RUN_TIME).includes(entry.license))
  .map(([path, entry]) => `${path}: the licence ${entry.license} is not allowed`);
if (runTime.length > RUN_TIME_LIMIT) {
  problems.push(
    `${runTime.length} run-time dependencies are more than ${RUN_TIME_LIMIT}: ${runTime.map(([path]) => path).join(", ")}`,
  );
}
for (const manifest of ["package.json", "client/package.json"]) {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(readFileSync(manifest, "utf8"));
  const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
  problems.push(...loose.map(([name, version]) => `${manifest}: ${name} ${version} is not one exact version`));
}
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
console.log(`${runTime.length} run-time dependencies, ${installed.length - runTime.length} for the build and the tests`);
