#!/usr/bin/env node
// Removes what builds made; with --all also node_modules.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const dirs = ["bin/dist", "coverage", ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/dist`)];
if (process.argv.includes("--all")) dirs.push("node_modules", ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/node_modules`));
for (const dir of dirs) rmSync(join(root, dir), { recursive: true, force: true });
