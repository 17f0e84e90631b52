#!/usr/bin/env node
// Generates packages/protocol/src/generated from packages/protocol/proto. With --check: only says whether what is there is what would be generated.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const protocol = join(root, "packages/protocol");
const generated = join(protocol, "src/generated");

/** Fresh code goes beside the old one first: a failed generation must not leave the sources half there. */
function generate() {
  const out = mkdtempSync(join(protocol, ".generate-"));
  const buf = spawnSync(join(root, "node_modules/.bin/buf"), ["generate", "--output", out], { cwd: protocol, encoding: "utf8" });
  if (buf.status !== 0) {
    rmSync(out, { recursive: true, force: true });
    throw new Error(`buf generate failed:\n${buf.stdout}${buf.stderr}${buf.error?.message ?? ""}`);
  }
  return { out, code: join(out, "src/generated") };
}

function filesOf(dir) {
  if (!existsSync(dir)) return new Map();
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).map((file) => [relative(dir, file), readFileSync(file, "utf8")]),
  );
}

try {
  const { out, code } = generate();
  try {
    const [fresh, present] = [filesOf(code), filesOf(generated)];
    const stale = [...new Set([...fresh.keys(), ...present.keys()])].filter((file) => fresh.get(file) !== present.get(file)).sort();
    if (process.argv.includes("--check")) {
      for (const file of stale) console.error(`packages/protocol/src/generated/${file} is not what the .proto files say; run npm run generate`);
      process.exitCode = stale.length > 0 ? 1 : 0;
    } else if (stale.length > 0) {
      rmSync(generated, { recursive: true, force: true });
      cpSync(code, generated, { recursive: true });
      console.log(`${stale.length} file(s) changed`);
    }
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
