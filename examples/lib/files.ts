// What the examples work on: the text files below node_modules.
import { existsSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export interface TextFile {
  id: number;
  path: string;
  bytes: number;
}

/** The node_modules directory that tray's dependencies are installed in: every machine that runs tray has one. */
export function nodeModules(): string {
  const tray = createRequire(import.meta.url).resolve("tray");
  const dirs = createRequire(tray).resolve.paths("koffi") ?? [];
  const found = dirs.find((dir) => existsSync(join(dir, "koffi")));
  if (found === undefined) throw new Error("tray's node_modules directory is not to be found; name another with --dir");
  return found;
}

/** Source and documentation files below a directory, always in the same order; links are not followed. */
export function listFiles(dir: string, max = Infinity): TextFile[] {
  const found: TextFile[] = [];
  const walk = (at: string): void => {
    for (const entry of readdirSync(at, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (found.length >= max) return;
      const path = join(at, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && /\.([cm]?[jt]s|md)$/.test(entry.name)) found.push({ id: found.length, path, bytes: statSync(path).size });
    }
  };
  walk(dir);
  if (found.length === 0) throw new Error(`there are no source or documentation files in ${dir}`);
  return found;
}

/** Groups of files of about so many bytes: the tasks' work. */
export function shardsOf(files: readonly TextFile[], bytes: number): TextFile[][] {
  const shards: TextFile[][] = [];
  let size = Infinity;
  for (const file of files) {
    if (size + file.bytes > bytes) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)?.push(file);
    size += file.bytes;
  }
  return shards;
}
