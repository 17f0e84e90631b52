// Preloaded (--require) into Node programs that tray runs: `tray run` and the entrypoints of jobs. Makes `tray` resolvable where the program has none of its own,
// for ES modules too (NODE_PATH serves only `require`), and runs TypeScript entry files. Costs nothing where neither is needed.
import { existsSync } from "node:fs";
import { createRequire, register } from "node:module";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isMainThread } from "node:worker_threads";

const packageDir = join(__dirname, "../..");
const entry = process.argv[1] === undefined ? undefined : resolve(process.argv[1]);

if (isMainThread && entry !== undefined) {
  if (/\.[mc]?tsx?$/.test(entry) && !process.execArgv.some((arg) => arg.includes("tsx"))) {
    const own = createRequire(join(packageDir, "package.json"));
    (own("tsx/cjs/api") as { register(): void }).register();
    (own("tsx/esm/api") as { register(): void }).register();
  }
  if (!hasOwnTray(dirname(entry))) {
    const parent = JSON.stringify(pathToFileURL(join(packageDir, "package.json")).href);
    const hooks = `export async function resolve(specifier, context, next) {
      if (specifier !== "tray" && !specifier.startsWith("tray/")) return next(specifier, context);
      try { return await next(specifier, context); } catch (error) {
        if (error?.code !== "ERR_MODULE_NOT_FOUND") throw error;
        return next(specifier, { ...context, parentURL: ${parent} });
      }
    }`;
    register(`data:text/javascript,${encodeURIComponent(hooks)}`);
  }
}

/** As Node looks packages up: node_modules of the directory and of those above. */
function hasOwnTray(start: string): boolean {
  for (let dir = start; ; dir = dirname(dir)) {
    if (existsSync(join(dir, "node_modules", "tray", "package.json"))) return true;
    if (dirname(dir) === dir) return false;
  }
}
