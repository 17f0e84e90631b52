#!/usr/bin/env node
// Bundles what runs: one CommonJS file for each composition root and for each public entry (docs/decisions/0005).
//
//   bin/NAME.ts                    → packages/tray/dist/bin/NAME.cjs     (bin/sim.ts → packages/testkit/dist/bin: it is not published)
//   packages/tray/src/ENTRY.ts     → packages/tray/dist/ENTRY.cjs, and a thin ENTRY.mjs where users import it
//
// Workspaces are bundled from their TypeScript sources (export condition "source"), so a bundle never depends on the order of tsc's output.
// Every workspace says "sideEffects": false; that is what keeps a daemon free of modules it does not use, natives among them.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";

/** Public entries of packages/tray/src. `esm`: users import it by name, so ES modules get a list of re-exports of the same instance. */
const trayEntries = [
  { name: "index", esm: true },
  { name: "util", esm: true },
  { name: "jobs", esm: true },
  { name: "io-thread", esm: false },
];

/** `tray microbenchmark` loads it beside the command's bundle; it requires the library instead of containing it. */
const benchEntry = "packages/bench/src/index.ts";

/** Roots that are for this repository's developers stay out of the published package. */
const outOfPackage = { sim: "testkit" };

/** Native packages, tools that find their own files, and optional accelerators that their users only try to load. */
const external = [
  "koffi",
  "lmdb",
  "esbuild",
  "tsx",
  "typescript",
  "apache-arrow",
  "msgpackr-extract",
  "bufferutil",
  "utf-8-validate",
  "@grpc/proto-loader",
];

const importMeta = [
  `const __bundleUrl = require("node:url").pathToFileURL(__filename).href;`,
  `const __bundleResolve = (specifier) => require("node:url").pathToFileURL(require.resolve(specifier)).href;`,
].join("\n");

export async function bundle(root, { quiet = false } = {}) {
  const startedMs = performance.now();
  const roots = existsSync(join(root, "bin")) ? readdirSync(join(root, "bin")).filter((f) => f.endsWith(".ts") && !/\.(d|test)\.ts$/.test(f)) : [];
  const entries = trayEntries.filter((e) => existsSync(join(root, `packages/tray/src/${e.name}.ts`)));
  const entryPoints = [
    ...roots
      .map((file) => file.slice(0, -".ts".length))
      .map((name) => ({ in: join(root, `bin/${name}.ts`), out: `${outOfPackage[name] ?? "tray"}/dist/bin/${name}` })),
    ...entries.map((e) => ({ in: join(root, `packages/tray/src/${e.name}.ts`), out: `tray/dist/${e.name}` })),
    ...(existsSync(join(root, benchEntry)) ? [{ in: join(root, benchEntry), out: "tray/dist/bench" }] : []),
  ];
  const result = await build({
    absWorkingDir: root,
    entryPoints,
    outdir: join(root, "packages"),
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    conditions: ["source"],
    external,
    plugins: [oneLibrary(root)],
    sourcemap: "linked",
    sourcesContent: false,
    treeShaking: true,
    banner: { js: importMeta },
    define: {
      "import.meta.url": "__bundleUrl",
      "import.meta.filename": "__filename",
      "import.meta.dirname": "__dirname",
      "import.meta.resolve": "__bundleResolve",
    },
    metafile: true,
    logLevel: "warning",
    // Each of these would be a bundle that builds and then misbehaves.
    logOverride: { "empty-import-meta": "error", "ignored-bare-import": "error", "import-is-undefined": "error", "indirect-require": "silent" },
  });
  for (const e of entries.filter((entry) => entry.esm)) await writeEsmEntry(root, e.name);
  const outputs = Object.entries(result.metafile.outputs).filter(([file]) => file.endsWith(".cjs"));
  removeStale(root, new Set(outputs.map(([file]) => file)));
  if (!quiet) for (const [file, output] of outputs) console.log(`${file}  ${Math.ceil(output.bytes / 1024)} KiB`);
  if (!quiet) console.log(`${outputs.length} bundles in ${Math.round(performance.now() - startedMs)} ms`);
  return result.metafile;
}

/** The other public entries use the library's own file: a second copy of it in theirs would be a second library. */
function oneLibrary(root) {
  const library = join(root, "packages/tray/src/index.ts");
  const users = entriesBeside(root);
  return {
    name: "one library",
    setup: (plugins) => {
      plugins.onResolve({ filter: /\/index\.js$/ }, ({ path, importer, resolveDir }) =>
        join(resolveDir, path.replace(/\.js$/, ".ts")) === library && users.some((user) => importer.startsWith(user))
          ? { path: "./index.cjs", external: true }
          : undefined,
      );
    },
  };
}

/** Files and directories of the public entries other than the library itself: NAME.ts and NAME/. */
const entriesBeside = (root) =>
  trayEntries
    .filter((e) => e.esm && e.name !== "index")
    .flatMap((e) => [`${e.name}.ts`, `${e.name}/`].map((p) => join(root, "packages/tray/src", p)));

/** A root that was renamed must not leave its old bundle behind to be started by mistake. */
function removeStale(root, fresh) {
  for (const name of ["tray", ...Object.values(outOfPackage)]) {
    const dir = `packages/${name}/dist/bin`;
    for (const file of existsSync(join(root, dir)) ? readdirSync(join(root, dir)) : []) {
      if (!fresh.has(`${dir}/${file.replace(/\.map$/, "")}`)) rmSync(join(root, dir, file));
    }
  }
}

/**
 * ES modules and CommonJS must share one instance, so the ES module only passes on what the CommonJS file has. It requires that: for an import Node
 * would first search it for the names of exports, which takes as long as loading it.
 */
async function writeEsmEntry(root, name) {
  const names = await exportedNames(join(root, `packages/tray/src/${name}.ts`));
  const body =
    names.length === 0
      ? "export {};"
      : `import { createRequire } from "node:module";\nconst entry = createRequire(import.meta.url)("./${name}.cjs");\nexport const {\n${names.map((n) => `  ${n},\n`).join("")}} = entry;`;
  const file = join(root, `packages/tray/dist/${name}.mjs`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${body}\n`);
}

async function exportedNames(file) {
  if (/^export \*\s*from/m.test(readFileSync(file, "utf8"))) throw new Error(`${file}: re-export by name, "export *" hides what is exported`);
  const { metafile } = await build({
    entryPoints: [file],
    bundle: false,
    format: "esm",
    write: false,
    metafile: true,
    outdir: dirname(file),
    logLevel: "warning",
  });
  const [output] = Object.values(metafile.outputs);
  return output.exports.filter((n) => n !== "default").sort();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await bundle(join(import.meta.dirname, ".."), { quiet: process.argv.includes("--quiet") }).catch((error) => {
    console.error(error.errors === undefined ? error : `bundle failed with ${error.errors.length} error(s)`);
    process.exit(1);
  });
}
