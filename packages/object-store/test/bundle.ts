// Programs of tests and benchmarks that must run in a process or thread of their own, bundled from the sources as they are.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildSync } from "esbuild";

export interface Bundle {
  readonly file: string;
  remove(): void;
}

/** Bundles `entry` (absolute) to CommonJS in a directory from which koffi resolves. */
export function bundle(entry: string): Bundle {
  const cache = join(__dirname, "../../../node_modules/.cache");
  mkdirSync(cache, { recursive: true });
  const directory = mkdtempSync(join(cache, "object-store-"));
  const file = join(directory, "program.cjs");
  buildSync({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    conditions: ["source"],
    external: ["koffi"],
    logLevel: "error",
    logOverride: { "empty-import-meta": "silent" },
  });
  return { file, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
