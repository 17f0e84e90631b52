// What many queued tasks cost, and whether a driver that computes holds them up.
import { sleep } from "@tray/common";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Bench, type Case, timed, turn } from "../case.js";
import { cpuMsOf, findDescendant } from "../proc.js";

const settleMs = 1000;

const queuedCase = (count: number): Case => {
  const timeRow = `queued_${count}_time_per_task`;
  const bytesRow = `queued_${count}_bytes_per_task`;
  const gcsRow = `queued_${count}_gcs_cpu`;
  return {
    name: `queued_${count}`,
    group: "growth",
    rows: [
      {
        name: timeRow,
        unit: "µs",
        better: "lower",
        what: `${count.toLocaleString("en")} no-op tasks queued behind busy workers: submitting and running them, divided by their number`,
      },
      // Small numbers of tasks disappear in what the heap does anyway.
      ...(count >= 10_000
        ? [
            {
              name: bytesRow,
              unit: "B",
              better: "lower" as const,
              what: "what the driver's resident memory grew by until all were queued, divided by their number",
            },
          ]
        : []),
      // Shorter runs end before the GCS has done anything that could be measured.
      ...(count >= 100_000
        ? [{ name: gcsRow, unit: "% of a core", better: "lower" as const, what: "what the GCS computed meanwhile, submitting and running" }]
        : []),
    ],
    systems: count <= 10_000 ? ["tray", "ray"] : ["tray"],
    ownCluster: false,
    once: true,
    measure: async (bench) => {
      const { tookMs, grownBytes, gcsShare } = await queue(bench, count);
      return {
        [timeRow]: [(tookMs * 1000) / count],
        ...(count >= 10_000 ? { [bytesRow]: [grownBytes / count] } : {}),
        ...(count >= 100_000 && gcsShare !== undefined ? { [gcsRow]: [gcsShare * 100] } : {}),
      };
    },
  };
};

/** `gcsShare`: CPU time of the GCS by wall-clock time; unknown for a cluster that this process did not start. */
async function queue(bench: Bench, count: number): Promise<{ tookMs: number; grownBytes: number; gcsShare: number | undefined }> {
  const { clock, cpus, scratchDir, tray } = bench;
  const gate = join(scratchDir, "gate");
  // Holds its CPU until the file is there: a task that waited by tray.get would give the CPU back.
  const hold = tray.remote((file: string) => {
    const { existsSync } = require("node:fs") as typeof import("node:fs");
    const cell = new Int32Array(new SharedArrayBuffer(4));
    while (!existsSync(file)) Atomics.wait(cell, 0, 0, 5);
  });
  const noop = tray.remote(() => undefined);
  await tray.get(Array.from({ length: 1000 }, () => noop.remote()));
  const held = Array.from({ length: cpus }, () => hold.remote(gate));
  await sleep(clock, settleMs);
  const gcs = findDescendant(process.pid, "gcs-server");
  const begin = { ms: clock.now(), gcsMs: gcs === undefined ? 0 : cpuMsOf(gcs) };
  const before = process.memoryUsage.rss();
  const refs: ReturnType<typeof noop.remote>[] = [];
  const submitMs = await timed(clock, async () => {
    while (refs.length < count) {
      for (let i = 0; i < 1000 && refs.length < count; i++) refs.push(noop.remote());
      await turn(clock);
    }
  });
  await sleep(clock, settleMs);
  const grownBytes = process.memoryUsage.rss() - before;
  const runMs = await timed(clock, async () => {
    writeFileSync(gate, "");
    await tray.get(refs);
  });
  const gcsShare = gcs === undefined ? undefined : (cpuMsOf(gcs) - begin.gcsMs) / (clock.now() - begin.ms);
  await tray.get(held);
  return { tookMs: submitMs + runMs, grownBytes, gcsShare };
}

const busyTasks = 10_000;
const busyMs = 10_000;

const busyDriver: Case = {
  name: "busy_driver",
  group: "growth",
  rows: [
    {
      name: "busy_driver",
      unit: "% done",
      better: "higher",
      what: "10,000 tasks of 1 ms submitted, 10 s computed without yielding: how many are done then",
    },
  ],
  systems: ["tray", "ray"],
  ownCluster: false,
  once: true,
  measure: async ({ clock, tray }) => {
    const task = tray.remote(() => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1));
    await tray.get(Array.from({ length: 100 }, () => task.remote()));
    const refs = Array.from({ length: busyTasks }, () => task.remote());
    for (const begin = clock.now(); clock.now() - begin < busyMs; );
    const [done] = await tray.wait(refs, { numReturns: refs.length, timeout: 0 });
    return { busy_driver: [(done.length / busyTasks) * 100] };
  },
};

export const growthCases: readonly Case[] = [busyDriver, ...[1000, 10_000, 100_000, 1_000_000].map(queuedCase)];
