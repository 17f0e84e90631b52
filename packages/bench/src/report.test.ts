import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { renderMarkdown } from "./report.js";
import type { Results } from "./results.js";

const results: Results = {
  date: "2026-01-02",
  machine: { cores: 4, cpu: "A|B 3", kernel: "6.1", memoryGibibytes: 15.6, load: 0.25 },
  node: "20.0.0",
  tray: "0.1.0",
  cpus: 2,
  method: "two windows",
  peers: [{ system: "ray", title: "Ray 2.58.0", detail: "Python 3.11" }],
  samples: {
    tray: { single_client_put_calls: [100, 300, 200], start_head: [500] },
    ray: { single_client_put_calls: [2, 1, 3], start_head: [2000] },
    bare: { memcpy_100MiB: [9.5] },
  },
  failures: [{ system: "ray", caseName: "transfer_10MiB", reason: "python ended with 1:\nTraceback\nRuntimeError: no room\n" }],
};
const lines = renderMarkdown(results).split("\n");

describe("renderMarkdown", () => {
  it("begins with where and when the run was", () => {
    expect(lines.slice(0, 14)).toEqual([
      "# Benchmarks",
      "",
      "Written by `npm run bench -- --write docs/benchmarks.md` from one run; do not edit. Every ratio is between medians of that run, with the systems taking turns case by case.",
      "What the figures mean, why targets are missed and what was tried: [benchmarks-analysis.md](benchmarks-analysis.md).",
      "",
      "|  |  |",
      "|---|---|",
      "| date | 2026-01-02 |",
      "| machine | 4 cores (A\\|B 3), 15.6 GiB, Linux 6.1 |",
      "| load when it began | 0.25 |",
      "| tray | 0.1.0, Node 20.0.0 |",
      "| Ray | Ray 2.58.0, Python 3.11 |",
      "| method | two windows |",
      "",
    ]);
  });

  it("shows a group as a table of medians, spreads and ratios", () => {
    const at = lines.indexOf("## Objects");
    expect(lines.slice(at, at + 5)).toEqual([
      "## Objects",
      "",
      "| case | unit | tray | Ray | tray : Ray |",
      "|---|---|---:|---:|---:|",
      "| `single_client_put_calls`<br>put(0), one after the other | calls/s | 200<br><sub>100 – 300</sub> | 2<br><sub>1 – 3</sub> | 100× |",
    ]);
  });

  it("shows a ratio above one where less is better and tray has less, and no spread of a single sample", () => {
    expect(lines.find((line) => line.startsWith("| `start_head`"))).toMatch(/\| ms \| 500 \| 2,000 \| 4× \|$/);
  });

  it("leaves out systems and groups without figures", () => {
    expect(lines).not.toContain("## Tasks");
    const at = lines.indexOf("## What bare primitives do on this machine");
    expect(lines[at + 2]).toBe("| case | unit | bare |");
  });

  it("lists every target with its verdict, and counts them", () => {
    expect(lines).toContain("| put small | `single_client_put_calls` | ≥ 100× Ray | 100× | met |");
    expect(lines).toContain("| start a head | `start_head` | ≤ 1,000 ms | 500 ms | met |");
    expect(lines).toContain("| get small | `single_client_get_calls` | ≥ 20× Ray |  | not measured |");
    expect(lines.find((line) => line.includes("targets are met"))).toMatch(/^2 of \d+ targets are met, 0 missed, \d+ not measured in this run\. /);
  });

  it("names what failed, with the end of its message", () => {
    const at = lines.indexOf("## Not measured");
    expect(lines[at + 2]).toBe("* Ray, `transfer_10MiB`: RuntimeError: no room");
  });

  it("made docs/benchmarks.md out of docs/benchmarks.json", () => {
    // After a change of the rendering: npm run bench -- --from docs/benchmarks.json --write docs/benchmarks.md
    const docs = join(__dirname, "../../../docs");
    const recorded = JSON.parse(readFileSync(join(docs, "benchmarks.json"), "utf8")) as Results;
    expect(readFileSync(join(docs, "benchmarks.md"), "utf8")).toBe(renderMarkdown(recorded));
    expect(existsSync(join(docs, "benchmarks-analysis.md"))).toBe(true);
  });
});
