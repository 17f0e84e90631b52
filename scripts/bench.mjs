#!/usr/bin/env node
// `npm run bench -- --help`: the bundle that measures, with this process's clock, environment and terminal.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const bundleFile = join(root, "packages/tray/dist/bench.cjs");
if (!existsSync(bundleFile)) {
  console.error("packages/tray/dist/bench.cjs is missing: npm run build");
  process.exit(1);
}
const require = createRequire(import.meta.url);
const { benchMain, systemClock } = require(bundleFile);
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => interruption.abort(new Error(`ended by ${signal}`)));
process.exitCode = await benchMain(process.argv.slice(2), {
  clock: systemClock,
  env: process.env,
  bundleFile,
  sourceDir: join(root, "packages/bench"),
  signal: interruption.signal,
  say: (line) => console.log(line),
}).catch((error) => {
  console.error(interruption.signal.aborted ? interruption.signal.reason.message : error);
  return 1;
});
