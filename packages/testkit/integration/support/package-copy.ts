// A copy of the built package that says it is another version: the same code from the outside, refused by a cluster of the real one.
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repositoryRoot } from "./program.js";

/** @returns its directory; `bin/tray.js` and `dist/index.mjs` are in it. */
export function copyPackage(into: string, version: string): string {
  const from = join(repositoryRoot, "packages/tray");
  const own = (JSON.parse(readFileSync(join(from, "package.json"), "utf8")) as { version: string }).version;
  const to = join(into, "tray");
  mkdirSync(join(to, "dist/bin"), { recursive: true });
  // Native packages are found as they are by the original.
  symlinkSync(join(repositoryRoot, "node_modules"), join(into, "node_modules"));
  cpSync(join(from, "bin"), join(to, "bin"), { recursive: true });
  writeFileSync(join(to, "package.json"), readFileSync(join(from, "package.json"), "utf8").replace(`"version": "${own}"`, `"version": "${version}"`));
  let patched = 0;
  for (const dir of ["dist", "dist/bin"]) {
    for (const file of readdirSync(join(from, dir)).filter((name) => /\.[cm]js$/.test(name))) {
      const text = readFileSync(join(from, dir, file), "utf8").replace(
        /^((?:var )?\s*(?:trayVersion|version) = )"([^"]+)";$/gm,
        (line, head: string, found: string) => {
          if (found !== own) return line;
          patched++;
          return `${head}"${version}";`;
        },
      );
      writeFileSync(join(to, dir, file), text);
    }
  }
  if (patched === 0) throw new Error("the bundles do not name a version where one was expected");
  return to;
}
