import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createModuleHost, pathOfUrl } from "./module-host.js";

const dir = mkdtempSync(join(tmpdir(), "tray-module-host-"));
beforeAll(() => {
  mkdirSync(join(dir, "lib/parts"), { recursive: true });
  for (const file of ["lib/typed.ts", "lib/view.tsx", "lib/old.cts", "lib/plain.js", "lib/parts/index.ts"]) writeFileSync(join(dir, file), "");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("what a relative import refers to", () => {
  const host = createModuleHost({ workingDir: dir });
  const cases: [importer: string, specifier: string, file: string][] = [
    ["main.ts", "./lib/typed.js", "lib/typed.ts"],
    ["main.ts", "./lib/typed.ts", "lib/typed.ts"],
    ["main.ts", "./lib/typed", "lib/typed.ts"],
    ["main.ts", "./lib/view.js", "lib/view.tsx"],
    ["main.ts", "./lib/view.jsx", "lib/view.tsx"],
    ["main.ts", "./lib/old.cjs", "lib/old.cts"],
    ["main.ts", "./lib/parts", "lib/parts/index.ts"],
    ["main.ts", "./lib/plain.js", "lib/plain.js"],
    ["lib/typed.ts", "../lib/typed.js", "lib/typed.ts"],
    ["main.js", "./lib/typed.js", "lib/typed.js"],
  ];
  it.each(cases)("%s imports %s", (importer, specifier, file) => {
    expect(host.referToImport(specifier, join(dir, importer), "import")).toEqual({ kind: "file", specifier: file, from: "", loader: "import" });
  });
});

it("the file of a script is known by its URL, by tsx's ways of writing it too", () => {
  expect(pathOfUrl("file:///job/a%20b.ts?namespace=1")).toBe("/job/a b.ts");
  expect(pathOfUrl("file:///job/./a.ts")).toBe("/job/a.ts");
  expect(pathOfUrl("/job/a.ts?x")).toBe("/job/a.ts");
  expect(pathOfUrl("data:text/javascript,1?filePath=%2Fjob%2Fa%20b.ts")).toBe("/job/a b.ts");
  for (const url of ["data:text/javascript,1", "node:fs", "evalmachine.<anonymous>"]) expect(pathOfUrl(url)).toBeUndefined();
});

it("a file of a package that every machine has goes by the package's name, from its script and from its neighbours", () => {
  const host = createModuleHost({ workingDir: dir, fallbacks: { parts: join(dir, "lib/plain.js") } });
  const expected = { kind: "package", specifier: "parts", from: "", loader: "require" };
  expect(host.referToScript(join(dir, "lib/plain.js"), "require")).toEqual(expected);
  expect(host.referToImport("./plain.js", join(dir, "lib/other.js"), "require")).toEqual(expected);
  expect(host.referToScript(join(dir, "lib/other.js"), "require")).toMatchObject({ kind: "file", specifier: "lib/other.js" });
});
