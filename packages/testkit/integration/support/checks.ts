// Drivers made of named checks (drivers/checks.mjs): each check is a test of its own here, and one that the driver did not get to has failed.
import { readFileSync } from "node:fs";
import type { TestCluster } from "./cluster.js";
import { driverFile, type Result } from "./program.js";

interface CheckReport {
  name: string;
  error: string | null;
  ms: number;
}

/** Declares the tests of a driver; the driver runs once, before the first of them. */
export function describeChecks(file: string, clusterOf: () => TestCluster): void {
  const path = driverFile(file);
  const source = readFileSync(path, "utf8");
  const namesOf = (word: string): string[] => [...source.matchAll(new RegExp(`^${word}\\("([^"]+)"`, "gm"))].map((m) => m[1] as string);
  const names = namesOf("check");
  const defects = namesOf("defect");
  describe(file.replace(/\.[cm]?[jt]s$/, ""), () => {
    let result: Result;
    let reports: Map<string, CheckReport>;
    beforeAll(async () => {
      result = await clusterOf().driver(path).result;
      const lines = result.stdout.split("\n").filter((line) => line.startsWith("check "));
      reports = new Map(lines.map((line) => JSON.parse(line.slice("check ".length)) as CheckReport).map((r) => [r.name, r]));
    });
    const errorOf = (name: string): string | null => {
      const report = reports.get(name);
      if (report === undefined) throw new Error(`the driver ended before this check\n${result.stdout}\n${result.stderr}`);
      return report.error;
    };
    it.each(names)("%s", (name) => {
      const error = errorOf(name);
      if (error !== null) throw new Error(error);
    });
    for (const name of defects)
      it(`known defect: ${name}`, () => {
        if (errorOf(name) === null) throw new Error("this works now: make it a check in the driver");
      });
    it("ends by itself with exit code 0", () => {
      expect(names.length).toBeGreaterThan(0);
      expect({ code: result.code, signal: result.signal, stderr: result.code === 0 ? "" : result.stderr }).toEqual({
        code: 0,
        signal: null,
        stderr: "",
      });
    });
  });
}
