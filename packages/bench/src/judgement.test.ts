import { rowsByName } from "./cases/index.js";
import { judge } from "./judgement.js";
import type { Results } from "./results.js";
import { aims } from "./targets.js";

const run = (samples: Results["samples"]): Results => ({
  date: "2026-01-02",
  machine: { cores: 4, cpu: "", kernel: "6.1", memoryGibibytes: 16 },
  node: "20.0.0",
  tray: "0.1.0",
  cpus: 2,
  method: "two windows",
  peers: [],
  samples,
  failures: [],
});
const verdictOf = (samples: Results["samples"], row: string) => judge(run(samples)).filter((j) => j.row === row);

describe("judge", () => {
  it("judges by the ratio of medians, not of single samples", () => {
    // The medians are 90 and 10; the best and the last samples would say otherwise.
    const samples = { tray: { single_client_tasks_sync: [10, 90, 500] }, ray: { single_client_tasks_sync: [10, 2, 400] } };
    expect(verdictOf(samples, "single_client_tasks_sync")[0]).toEqual({
      title: "no-op task, one at a time",
      row: "single_client_tasks_sync",
      asked: "≥ 9× Ray",
      reached: "9×",
      verdict: "met",
    });
    samples.tray.single_client_tasks_sync = [10, 89, 500];
    expect(verdictOf(samples, "single_client_tasks_sync")[0]).toMatchObject({ reached: "8.9×", verdict: "missed" });
  });

  it("turns the ratio round where less is better", () => {
    const samples = { tray: { actor_create_and_call_warm: [20] }, ray: { actor_create_and_call_warm: [300] } };
    expect(verdictOf(samples, "actor_create_and_call_warm")).toMatchObject([{ reached: "15×", verdict: "met" }]);
  });

  it("compares with another row of another system, or of tray itself", () => {
    expect(verdictOf({ tray: { put_100MiB: [7] }, bare: { memcpy_100MiB: [10] } }, "put_100MiB")[1]).toMatchObject({
      asked: "≥ 0.7× `memcpy_100MiB`",
      reached: "0.7×",
      verdict: "met",
    });
    const growing = verdictOf({ tray: { queued_1000_time_per_task: [10], queued_1000000_time_per_task: [20] } }, "queued_1000000_time_per_task");
    expect(growing[0]).toMatchObject({ reached: "0.5×", verdict: "missed" });
  });

  it.each([
    ["start_head", 1000, "≤ 1,000 ms", "met"],
    ["start_head", 1001, "≤ 1,000 ms", "missed"],
    ["busy_driver", 100, "≥ 100 % done", "met"],
    ["busy_driver", 99.9, "≥ 100 % done", "missed"],
  ])("holds %s of %p against a limit in its own unit", (row, figure, asked, verdict) => {
    expect(verdictOf({ tray: { [row]: [figure] } }, row)).toMatchObject([{ asked, verdict }]);
  });

  it("says of every target that the run has no figures for that it was not measured", () => {
    const all = judge(run({ tray: { put_100MiB: [7] }, ray: { put_100MiB: [] } }));
    expect(all).toHaveLength(aims.flatMap((aim) => aim.targets).length);
    expect(new Set(all.map((j) => j.verdict))).toEqual(new Set(["not measured"]));
    expect(all.every((j) => j.reached === undefined)).toBe(true);
  });
});

describe("aims", () => {
  it("are for rows that cases measure", () => {
    const rows = aims.flatMap(({ targets }) => targets.flatMap((t) => ["otherRow" in t && t.otherRow !== undefined ? t.otherRow : t.row, t.row]));
    expect(rows.filter((row) => !rowsByName.has(row))).toEqual([]);
  });
});
