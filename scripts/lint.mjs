#!/usr/bin/env node
// Everything that judges sources without running them: oxlint with types, formatting, the rules between packages and those rules' own tests.
import { join } from "node:path";
import { runQuietly } from "./run.mjs";

const root = join(import.meta.dirname, "..");
const tool = (name) => join(root, "node_modules/.bin", name);
const results = await Promise.all([
  runQuietly("oxlint", tool("oxlint"), ["--type-aware", "--deny-warnings", "-f", "unix"], { cwd: root }),
  runQuietly("format (npm run format mends it)", tool("biome"), ["ci", "--reporter=summary", "--colors=off", "."], { cwd: root }),
  runQuietly("arrows", process.execPath, [join(root, "scripts/check-arrows.mjs")], { cwd: root }),
  runQuietly("types of the tests", tool("tsc"), ["-p", "tsconfig.tests.json", "--pretty", "false"], { cwd: root }),
]);
process.exitCode = results.every(Boolean) ? 0 : 1;
