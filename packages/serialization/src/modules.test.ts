// Functions in their natural habitat: drivers as ES module, CommonJS and TypeScript (through tsx) ship to another process.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";

const fixtures = join(__dirname, "../fixtures");
const scratch = mkdtempSync(join(tmpdir(), "tray-serialization-"));
const bundle = join(scratch, "codec.cjs");

beforeAll(() => {
  buildSync({
    entryPoints: [join(__dirname, "index.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    format: "cjs",
    conditions: ["source"],
    logLevel: "error",
  });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

type Results = Record<string, { value?: unknown; onward?: unknown; error?: string }>;

function shipAndRevive(directory: string, driver: string, ...nodeFlags: string[]): Results {
  const env = { ...process.env, CODEC_BUNDLE: bundle, WORKING_DIR: directory };
  const shipped = spawnSync(process.execPath, [...nodeFlags, join(directory, driver)], { env, encoding: "utf8" });
  if (shipped.status !== 0) throw new Error(`driver failed: ${shipped.stderr}`);
  const revived = spawnSync(process.execPath, [...nodeFlags, join(fixtures, "revive.mjs")], { env, encoding: "utf8", input: shipped.stdout });
  if (revived.status !== 0) throw new Error(`revival failed: ${revived.stderr}`);
  return JSON.parse(revived.stdout) as Results;
}

function values(expected: Record<string, unknown>): Results {
  return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, { value }]));
}

it("ES module", () => {
  expect(shipAndRevive(fixtures, "driver.mjs")).toEqual(
    values({
      captured: 6,
      shared: [11, 12, 12],
      declaration: 8,
      classes: ["s4 animal", 1, true],
      derived: ["base+6", true],
      recursion: [true, 120, 13],
      awaited: [11, 7],
      generator: [1, 10],
      imports: [6, 3, true, 3, 42, "a/b", true, "function", "function"],
      oneInstance: [1, true],
      instances: ["5-gon", true, 42, true],
      triple: null,
      meta: ["driver.mjs", 3, true],
      keyed: 1,
      ownStatic: true,
      staticBlock: [["first", "Registry"]],
      globals: [2, "number", "function", { a: 1 }, "undefined"],
      // The line of `null.x` in the driver.
      trace: "117",
    }),
  );
});

it("CommonJS", () => {
  expect(shipAndRevive(fixtures, "driver.cjs")).toEqual(
    values({
      captured: [2, 2],
      required: [42, 4, "a/b", 42, true, true],
      inline: 43,
      dirname: true,
      emitter: [5],
      oldStyle: [4, 9, true],
      sloppy: "object",
    }),
  );
});

it("a script given on the command line", () => {
  const env = { ...process.env, CODEC_BUNDLE: bundle, WORKING_DIR: fixtures };
  const script = `function helper() { return step; } const k = 2; var step = 5;
    require(${JSON.stringify(join(fixtures, "ship.cjs"))}).ship("[eval]", { top: () => helper() + k + step });`;
  const shipped = spawnSync(process.execPath, ["-e", script], { env, encoding: "utf8" });
  const revived = spawnSync(process.execPath, [join(fixtures, "revive.mjs")], { env, encoding: "utf8", input: shipped.stdout });
  expect([shipped.stderr, JSON.parse(revived.stdout)]).toEqual(["", { top: { value: 12 } }]);
});

it.each([
  ["ES module", fixtures],
  ["CommonJS", join(fixtures, "tscjs")],
])("TypeScript as %s", (_kind, directory) => {
  expect(shipAndRevive(directory, "driver.ts", "--import", "tsx")).toEqual(
    values({
      enums: [1, "High", 5, 3],
      imported: [8, "b", true, 8, true],
      classes: [2, 10, "Fast"],
      generator: [2],
      scale: 2,
    }),
  );
});
