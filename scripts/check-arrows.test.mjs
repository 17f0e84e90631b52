import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { ambientCalls } from "./arrows.table.mjs";
import { checkArrows, mask } from "./check-arrows.mjs";

const table = {
  layers: [["low"], ["mid"], ["d1", "d2"], ["top"]],
  daemons: ["d1", "d2"],
  entries: [{ file: "packages/top/src/entry.ts", reason: "test" }],
  ambientCalls,
  allowed: [{ file: "packages/low/src/time.ts", calls: ["Date.now"], reason: "test" }],
};

/** Packages low ← mid ← d1, d2 ← top that keep every rule, with `changes` laid over them. */
function breachesOf(changes) {
  const root = mkdtempSync(join(tmpdir(), "tray-arrows-"));
  const manifest = (name, deps) => JSON.stringify({ name: `@tray/${name}`, dependencies: Object.fromEntries(deps.map((d) => [d, "1"])) });
  const references = (...names) => JSON.stringify({ references: names.map((n) => ({ path: `../${n}` })) });
  const files = {
    "package.json": JSON.stringify({ devDependencies: { "fast-check": "1" } }),
    "packages/low/package.json": manifest("low", []),
    "packages/low/tsconfig.json": references(),
    "packages/low/src/index.ts": 'export { now } from "./time.js";\n',
    "packages/low/src/time.ts": "export const now = () => Date.now();\n",
    "packages/mid/package.json": manifest("mid", ["@tray/low", "yaml"]),
    "packages/mid/tsconfig.json": references("low"),
    "packages/mid/src/index.ts": 'import { now } from "@tray/low";\nimport fs from "node:fs";\nimport { parse } from "yaml";\n',
    "packages/d1/package.json": manifest("d1", ["@tray/low", "@tray/mid"]),
    "packages/d1/tsconfig.json": references("low", "mid"),
    "packages/d1/src/index.ts": 'export * from "@tray/mid";\n',
    "packages/d2/package.json": manifest("d2", ["@tray/mid"]),
    "packages/d2/tsconfig.json": references("mid"),
    "packages/d2/src/index.ts": "export {};\n",
    "packages/top/package.json": manifest("top", ["@tray/d1", "@tray/d2"]),
    "packages/top/tsconfig.json": references("d1", "d2"),
    "packages/top/src/index.ts": 'import type { X } from "@tray/d1";\nconst lazy = await import("@tray/d2");\n',
    "packages/top/src/entry.ts": "export {};\n",
    "bin/d1.ts": 'import { x } from "@tray/d1";\n',
    ...changes,
  };
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  try {
    return checkArrows(root, table);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

describe("check-arrows", () => {
  it("is content with packages that keep the rules", () => {
    assert.deepEqual(breachesOf({}), []);
  });
  it("refuses an import that goes up, also of a type, also in a test", () => {
    const text = 'import type { X } from "@tray/mid";\n';
    assert.deepEqual(breachesOf({ "packages/low/src/index.test.ts": text }), [
      "packages/low/src/index.test.ts:1: @tray/low imports @tray/mid, which is above it",
    ]);
    const up = breachesOf({ "packages/low/src/index.ts": `export { now } from "./time.js";\n${text}` });
    assert.deepEqual(up, [
      "packages/low/src/index.ts:2: @tray/low imports @tray/mid, which is above it",
      "packages/low/src/index.ts:2: @tray/mid is not among the references of packages/low/tsconfig.json",
      "packages/low/src/index.ts:2: @tray/mid is not declared in packages/low/package.json",
    ]);
  });
  it("refuses daemons that import daemons, but not roots that do", () => {
    const found = breachesOf({
      "packages/d2/src/index.ts": 'import { x } from "@tray/d1";\n',
      "bin/all.ts": 'import "@tray/d1";\nimport "@tray/d2";\n',
    });
    assert.ok(found.includes("packages/d2/src/index.ts:1: a daemon imports a daemon, @tray/d1"));
    assert.ok(found.every((line) => line.startsWith("packages/d2/")));
  });
  it("refuses undeclared packages, deep imports and packages in no layer", () => {
    assert.deepEqual(
      breachesOf({
        "packages/mid/src/index.ts": 'import { z } from "zod";\nimport { now } from "@tray/low/src/time.js";\nimport { a } from "@tray/lost";\n',
      }),
      [
        "packages/mid/src/index.ts:1: zod is not declared in packages/mid/package.json",
        "packages/mid/src/index.ts:2: imports a file inside @tray/low; packages are imported by name",
        "packages/mid/src/index.ts:3: there is no package @tray/lost",
      ],
    );
    const extra = { "packages/extra/package.json": '{"name":"@tray/extra"}', "packages/extra/tsconfig.json": "{}" };
    assert.deepEqual(breachesOf(extra), ["packages/extra/package.json:1: the package is in no layer of scripts/arrows.table.mjs"]);
  });
  it("lets tests use the repository's development packages, sources not", () => {
    const text = 'import fc from "fast-check";\n';
    assert.deepEqual(breachesOf({ "packages/mid/src/a.test.ts": text }), []);
    assert.equal(breachesOf({ "packages/d2/src/index.ts": text }).length, 1);
  });
  it("refuses ambient calls outside their homes, and homes that are not lived in", () => {
    const text =
      'setTimeout(f, 1);\nconst x = Math.random() + clock.setTimeout(1);\n// Date.now()\nconst s = "process.env" + `a ${process.env.A} Date.now`;\nconst d = new Date();\nnew Date(5);\n';
    const found = breachesOf({ "packages/d2/src/index.ts": text, "packages/low/src/time.ts": "export const now = 1;\n" });
    assert.deepEqual(
      found.map((line) => line.split(" is ")[0]),
      [
        "packages/d2/src/index.ts:1: setTimeout",
        "packages/d2/src/index.ts:2: Math.random",
        "packages/d2/src/index.ts:4: process.env",
        "packages/d2/src/index.ts:5: new Date()",
        "scripts/arrows.table.mjs:1: packages/low/src/time.ts no longer uses Date.now; remove it from the list",
      ],
    );
  });
  it("finds files that only tests import, or nobody", () => {
    const found = breachesOf({ "packages/mid/src/left.ts": "export {};\n", "packages/mid/src/left.test.ts": 'import "./left.js";\n' });
    assert.deepEqual(found, ["packages/mid/src/left.ts:1: no source file imports this one"]);
  });
});

describe("mask", () => {
  const cases = [
    ['a("x // y"); // Date.now', 'a("      ");            '],
    ["a /* b\n c */ d", "a     \n      d"],
    ["`a ${b + `c ${d}`} e` + f", "`  ${b + `  ${d}`}  ` + f"],
    ['x = y / z; w = "q" / 2', 'x = y / z; w = " " / 2'],
    ["x = /[/'\"]/.test(y)", "x = /     /.test(y)"],
    ["return /\\//g; z", "return /  /g; z"],
    ["`${{ a: 1 }.a}` + b", "`${{ a: 1 }.a}` + b"],
    ["'it\\'s' + x", "'     ' + x"],
  ];
  for (const [source, expected] of cases) it(JSON.stringify(source), () => assert.equal(mask(source), expected));
});
