// Minifies every JavaScript and TypeScript file below node_modules with esbuild, a shard a task. The minified code stays in the
// cluster as objects; only what is asked for comes here.
//
//   npx tray run examples/minify.ts [--files 300] [--dir node_modules] [--out directory]
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import * as tray from "tray";
import { listFiles, nodeModules, shardsOf, type TextFile } from "./lib/files.js";
import { showProgress } from "./lib/progress.js";

const { values: options } = parseArgs({
  options: { dir: { type: "string", default: nodeModules() }, files: { type: "string", default: "Infinity" }, out: { type: "string" } },
});
const { dir } = options;
/** Tasks take esbuild from here: they run where the nodes are, not where this file is. */
const toolsFrom = join(nodeModules(), "_.js");

interface Report {
  before: number;
  after: number;
  failed: string[];
}

/** What was saved, and the minified code by path: two objects, so that the small one can be read without the large one. */
async function minify(files: TextFile[]): Promise<[Report, Map<string, string>]> {
  const { transform } = createRequire(toolsFrom)("esbuild") as typeof import("esbuild");
  const report: Report = { before: 0, after: 0, failed: [] };
  const minified = new Map<string, string>();
  for (const { path, bytes } of files) {
    try {
      const { code } = await transform(readFileSync(path, "utf8"), {
        minify: true,
        loader: path.endsWith("ts") ? "ts" : "js",
        logLevel: "silent",
      });
      minified.set(relative(dir, path), code);
      report.before += bytes;
      report.after += Buffer.byteLength(code);
    } catch {
      report.failed.push(path); // a fixture that is no valid program, an odd dialect: not what this is about
    }
  }
  return [report, minified];
}
const minifyShard = tray.remote(minify, { numReturns: 2 });

const files = listFiles(dir, Number(options.files)).filter(({ path }) => !/\.(d\.[cm]?ts|md)$/.test(path));
await tray.init();
const started = performance.now();
const tasks = shardsOf(files, 500_000).map((shard) => minifyShard.remote(shard));

const sum: Report = { before: 0, after: 0, failed: [] };
let done = 0;
for await (const ref of tray.asCompleted(tasks.map(([report]) => report))) {
  const { before, after, failed } = await tray.get(ref);
  sum.before += before;
  sum.after += after;
  sum.failed.push(...failed);
  showProgress(++done, tasks.length, `${(sum.before / 1e6).toFixed(1)} → ${(sum.after / 1e6).toFixed(1)} MB`);
}
const seconds = (performance.now() - started) / 1000;

for (const [, code] of options.out === undefined ? [] : tasks) {
  for (const [path, text] of await tray.get(code)) {
    const target = join(options.out as string, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  }
}
const saved = 100 * (1 - sum.after / sum.before);
console.log(
  `${files.length - sum.failed.length} files, ${(sum.before / 1e6).toFixed(1)} → ${(sum.after / 1e6).toFixed(1)} MB (${saved.toFixed(0)} % saved) in ${seconds.toFixed(1)} s`,
);
if (sum.failed.length > 0)
  console.log(`${sum.failed.length} are not valid programs by themselves, ${relative(dir, sum.failed[0] as string)} for one`);
