#!/usr/bin/env node
// Required, not imported: Node would search two megabytes of CommonJS for the names of exports.
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const [only, ...others] = process.argv.slice(2);
if ((only === "--version" || only === "-V") && others.length === 0) process.stdout.write(`${require("../package.json").version}\n`);
else require("../dist/bin/tray.cjs");
