import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { bundle } from "./bundle.mjs";

const made = [];
after(() => {
  for (const root of made) rmSync(root, { recursive: true, force: true });
});

/** A repository in small, below this one's node_modules so that externals resolve. */
function repository(files) {
  const cache = join(import.meta.dirname, "../node_modules/.cache");
  mkdirSync(cache, { recursive: true });
  const root = mkdtempSync(join(cache, "bundle-"));
  made.push(root);
  const library = {
    "packages/lib/package.json": JSON.stringify({ name: "lib", type: "module", sideEffects: false, exports: { ".": { source: "./src/index.ts" } } }),
    "packages/lib/src/index.ts": 'export { Light } from "./light.js";\nexport { Heavy } from "./heavy.js";\n',
    "packages/lib/src/light.ts": 'export class Light { name = "light"; }\n',
    "packages/lib/src/heavy.ts": 'import { open } from "lmdb";\nexport class Heavy { open = open; }\n',
    "packages/tray/package.json": '{ "type": "module" }',
  };
  for (const [file, text] of Object.entries({ ...library, ...files })) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}
const run = (file) => execFileSync(process.execPath, [file], { encoding: "utf8" });
const light = 'import { Light } from "../packages/lib/src/index.js";\n';

describe("bundle", () => {
  it("gives each root a file of its own that loads only what it uses", async () => {
    const root = repository({
      "bin/a.ts": `${light}console.log(new Light().name);\n`,
      "bin/b.ts": 'import { Heavy } from "../packages/lib/src/index.js";\nconsole.log(typeof new Heavy().open);\n',
      "bin/sim.ts": "console.log(1);\n",
    });
    await bundle(root, { quiet: true });
    assert.equal(run(join(root, "packages/tray/dist/bin/a.cjs")), "light\n");
    assert.doesNotMatch(readFileSync(join(root, "packages/tray/dist/bin/a.cjs"), "utf8"), /lmdb/);
    assert.equal(run(join(root, "packages/tray/dist/bin/b.cjs")), "function\n");
    assert.ok(existsSync(join(root, "packages/testkit/dist/bin/sim.cjs")) && !existsSync(join(root, "packages/tray/dist/bin/sim.cjs")));
  });

  it("makes import.meta work in CommonJS", async () => {
    const root = repository({ "bin/a.ts": 'console.log(JSON.stringify([import.meta.url, import.meta.dirname, import.meta.resolve("lmdb")]));\n' });
    await bundle(root, { quiet: true });
    const file = join(root, "packages/tray/dist/bin/a.cjs");
    const lmdb = pathToFileURL(createRequire(file).resolve("lmdb")).href;
    assert.deepEqual(JSON.parse(run(file)), [pathToFileURL(file).href, dirname(file), lmdb]);
  });

  it("gives ES modules and CommonJS the same instance", async () => {
    const root = repository({
      "packages/tray/src/index.ts": 'export { one, type Shape } from "./one.js";\nexport const two = {};\n',
      "packages/tray/src/one.ts": "export const one = {};\nexport interface Shape { a: 1 }\n",
      "packages/tray/src/io-thread.ts": "export {};\n",
    });
    await bundle(root, { quiet: true });
    const module = await import(pathToFileURL(join(root, "packages/tray/dist/index.mjs")).href);
    const common = createRequire(import.meta.url)(join(root, "packages/tray/dist/index.cjs"));
    assert.deepEqual(Object.keys(module).sort(), ["one", "two"]);
    assert.ok(module.one === common.one && module.two === common.two);
    assert.ok(existsSync(join(root, "packages/tray/dist/io-thread.cjs")) && !existsSync(join(root, "packages/tray/dist/io-thread.mjs")));
  });

  it("removes the bundle of a root that is gone", async () => {
    const root = repository({ "bin/a.ts": "export {};\n", "bin/b.ts": "export {};\n" });
    await bundle(root, { quiet: true });
    rmSync(join(root, "bin/b.ts"));
    await bundle(root, { quiet: true });
    assert.ok(existsSync(join(root, "packages/tray/dist/bin/a.cjs")));
    assert.ok(!existsSync(join(root, "packages/tray/dist/bin/b.cjs")) && !existsSync(join(root, "packages/tray/dist/bin/b.cjs.map")));
  });

  it("refuses entries whose exports it cannot name", async () => {
    const root = repository({ "packages/tray/src/index.ts": 'export * from "./one.js";\n', "packages/tray/src/one.ts": "export const one = 1;\n" });
    await assert.rejects(bundle(root, { quiet: true }), /re-export by name/);
  });
});
