// Which files of a directory make up a job's working directory: all, but for what .gitignore and .trayignore (of every level) and `excludes` name, and what is
// never wanted (.git and virtual environments). `node_modules` goes along unless it is ignored: imports of the job's tasks are resolved from it.
import ignore, { type Ignore } from "ignore";
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join, relative } from "node:path";

export interface PackageFile {
  /** With "/", relative to the root; ends with "/" for an empty directory. */
  readonly path: string;
  readonly absolute: string;
  readonly mode: number;
  readonly bytes: number;
}

const never = [".git", ".venv", "venv", "__pycache__"];
const ignoreFiles = [".gitignore", ".trayignore", ".rayignore"];

interface Rules {
  /** Directory that the rules stand in, relative to the root. */
  readonly base: string;
  readonly rules: Ignore;
}

/** Sorted by path. Links are followed; one that leads back up is not. */
export function collectFiles(root: string, excludes: readonly string[] = []): PackageFile[] {
  const out: PackageFile[] = [];
  const top: Rules[] = excludes.length === 0 ? [] : [{ base: "", rules: ignore().add([...excludes]) }];
  visit(root, "", top, new Set([realpathSync(root)]), out);
  return out.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function visit(root: string, dir: string, inherited: readonly Rules[], above: ReadonlySet<string>, out: PackageFile[]): void {
  const absolute = join(root, dir);
  const names = readdirSync(absolute);
  const rules = [
    ...inherited,
    ...ignoreFiles.filter((f) => names.includes(f)).map((f) => ({ base: dir, rules: ignore().add(readFileSync(join(absolute, f), "utf8")) })),
  ];
  let kept = 0;
  for (const name of names) {
    if (never.includes(name)) continue;
    const path = dir === "" ? name : `${dir}/${name}`;
    const info = statSync(join(root, path), { throwIfNoEntry: false });
    if (info === undefined) continue; // a link to nowhere
    const isDirectory = info.isDirectory();
    if (isIgnored(rules, path, isDirectory)) continue;
    if (isDirectory) {
      const real = realpathSync(join(root, path));
      if (above.has(real)) continue;
      visit(root, path, rules, new Set([...above, real]), out);
    } else if (info.isFile()) out.push({ path, absolute: join(root, path), mode: info.mode & 0o777, bytes: info.size });
    else continue; // sockets, pipes, devices
    kept++;
  }
  if (kept === 0 && dir !== "") out.push({ path: `${dir}/`, absolute, mode: 0o755, bytes: 0 });
}

/** Deeper files have the last word, as in git. */
function isIgnored(rules: readonly Rules[], path: string, isDirectory: boolean): boolean {
  let ignored = false;
  for (const { base, rules: own } of rules) {
    const inside = relative(base === "" ? "." : base, path);
    const verdict = own.test(isDirectory ? `${inside}/` : inside);
    if (verdict.ignored) ignored = true;
    else if (verdict.unignored) ignored = false;
  }
  return ignored;
}
