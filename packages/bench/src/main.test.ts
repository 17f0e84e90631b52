import { systemClock } from "@tray/common";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { benchMain } from "./main.js";
import { casesNamed, chooseCases } from "./microbenchmark.js";
import { renderMarkdown } from "./report.js";
import type { Results } from "./results.js";

const results: Results = {
  date: "2026-01-02",
  machine: { cores: 4, cpu: "", kernel: "6.1", memoryGibibytes: 16 },
  node: "20.0.0",
  tray: "0.1.0",
  cpus: 2,
  method: "two windows",
  peers: [],
  samples: { tray: { start_head: [500], stop: [2000] } },
  failures: [],
};

describe("benchMain --from", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "tray-bench-test-"));
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  async function fromFile(recorded: Results) {
    const [from, report] = [join(dir, "run.json"), join(dir, "report.md")];
    writeFileSync(from, JSON.stringify(recorded));
    writeFileSync(report, "what was there before\n");
    const said: string[] = [];
    const host = {
      clock: systemClock,
      env: {},
      bundleFile: "",
      sourceDir: "",
      signal: new AbortController().signal,
      say: (line: string) => void said.push(line),
    };
    const code = await benchMain(["--from", from, "--write", report], host);
    return { code, said, report: readFileSync(report, "utf8") };
  }

  it("writes the whole report again from what was recorded, and says the verdicts it has figures for", async () => {
    const { code, said, report } = await fromFile(results);
    expect(code).toBe(0);
    expect(report).toBe(renderMarkdown(results));
    expect(said).toEqual(["met     start_head: ≤ 1,000 ms, is 500 ms", "MISSED  stop: ≤ 1,000 ms, is 2,000 ms"]);
  });

  it("fails when a case of the run could not be measured", async () => {
    expect((await fromFile({ ...results, failures: [{ system: "tray", caseName: "head", reason: "no" }] })).code).toBe(1);
  });
});

describe("choosing cases", () => {
  const names = (filter: string | undefined): string[] => chooseCases(filter).map((c) => c.name);

  it("takes texts separated by commas, and looks into the names of rows", () => {
    expect(names("put_100,driver_connect")).toEqual(["put_100MiB", "head"]);
  });
  it("refuses a text that no case has", () => {
    expect(() => casesNamed("nothing")).toThrow(/no case's name contains 'nothing'/);
    expect(() => casesNamed(",")).toThrow();
  });
  it("without a filter measures a cluster, and starts none itself", () => {
    const chosen = chooseCases(undefined);
    expect(chosen.every((c) => !c.ownCluster && c.systems.includes("tray"))).toBe(true);
    expect(names(undefined)).toEqual(expect.arrayContaining(["single_client_tasks_async", "1_1_actor_calls_sync", "get_100MiB"]));
  });
});
