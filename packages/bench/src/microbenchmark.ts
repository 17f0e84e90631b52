// What `tray microbenchmark` runs: tray's own side of the cases, without peers.
import { systemClock } from "@tray/common";
import { fileURLToPath } from "node:url";
import type { Case } from "./case.js";
import { cases } from "./cases/index.js";
import { compare } from "./comparison.js";
import { formatFigure, summarize } from "./stats.js";

export interface MicrobenchmarkResult {
  readonly name: string;
  /** The median, in `unit`. */
  readonly perSecond: number;
  readonly unit: string;
  readonly detail?: string;
}

const windows = { warmUpMs: 300, windowMs: 1000, count: 3, repetitions: 3 };
const caseLimitMs = 120_000;
const defaultCpus = 2;

/** Cases of tray whose name contains `filter`; without one, those that take seconds. */
export function chooseCases(filter: string | undefined): Case[] {
  if (filter !== undefined) return cases.filter((c) => [c.name, ...c.rows.map((row) => row.name)].some((name) => name.includes(filter)));
  return cases.filter((c) => c.group === "tasks" || c.group === "actors" || c.group === "objects");
}

/** @throws the first failure of a case, after the other cases have run. */
export async function runMicrobenchmark(options: {
  filter?: string;
  /** GCS to run against; absent = a cluster of its own for each case. Cases that start clusters themselves need it absent. */
  address?: string;
  onResult: (result: MicrobenchmarkResult) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { address, onResult, signal } = options;
  const failures: Error[] = [];
  await compare({
    clock: systemClock,
    env: process.env,
    signal,
    bundleFile: fileURLToPath(import.meta.url),
    cases: chooseCases(options.filter).filter((c) => !(c.ownCluster && address !== undefined)),
    peers: [],
    windows,
    cpus: defaultCpus,
    address,
    rounds: 1,
    caseLimitMs,
    onMeasured: (measured) => {
      for (const row of measured.case.rows) {
        const samples = measured.samples[row.name];
        if (samples === undefined || samples.length === 0) continue;
        const { median, min, max } = summarize(samples);
        onResult({ name: row.name, perSecond: median, unit: row.unit, detail: `${formatFigure(min)} to ${formatFigure(max)}` });
      }
    },
    onFailed: ({ caseName, reason }) => void failures.push(new Error(`${caseName}: ${reason}`)),
  });
  if (failures[0] !== undefined) throw failures[0];
}
