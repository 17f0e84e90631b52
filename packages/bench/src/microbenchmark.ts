// What `tray microbenchmark` runs: tray's own side of the cases, without peers.
import { systemClock, TrayError } from "@tray/common";
import { fileURLToPath } from "node:url";
import type { Case } from "./case.js";
import { cases } from "./cases/index.js";
import { compare } from "./comparison.js";
import { formatFigure, summarize } from "./stats.js";

export interface MicrobenchmarkResult {
  readonly name: string;
  /** Of the samples, in `unit`. */
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  /** The three figures for people. */
  readonly texts: { readonly median: string; readonly min: string; readonly max: string };
}

const windows = { warmUpMs: 300, windowMs: 1000, count: 3, repetitions: 3 };
const caseLimitMs = 120_000;
const defaultCpus = 2;

/** Cases whose name, or that of one of their rows, contains one of the texts in `filter`, which commas separate. @throws INVALID_ARGUMENT when there is none. */
export function casesNamed(filter: string): Case[] {
  const texts = filter.split(",").filter((text) => text !== "");
  const named = cases.filter((c) => [c.name, ...c.rows.map((row) => row.name)].some((name) => texts.some((text) => name.includes(text))));
  if (named.length > 0) return named;
  throw new TrayError("INVALID_ARGUMENT", `no case's name contains '${filter}'`, { hint: `there are ${cases.map((c) => c.name).join(", ")}` });
}

/** Without a filter, what measures a cluster in seconds a case: what starts clusters, fills disks or queues a million tasks must be named. */
export const chooseCases = (filter: string | undefined): Case[] =>
  filter === undefined
    ? cases.filter((c) => (c.group === "tasks" || c.group === "actors" || c.group === "objects") && !c.ownCluster)
    : casesNamed(filter);

/** @throws INVALID_ARGUMENT when no case has such a name; the first failure of a case, after the other cases have run. */
export async function runMicrobenchmark(options: {
  filter?: string;
  /** GCS to run against; absent = a cluster of its own for each case. Cases that start clusters do so either way. */
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
    cases: chooseCases(options.filter),
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
        const texts = { median: formatFigure(median), min: formatFigure(min), max: formatFigure(max) };
        onResult({ name: row.name, median, min, max, unit: row.unit, texts });
      }
    },
    onFailed: ({ caseName, reason }) => void failures.push(new TrayError("SYSTEM", `${caseName}: ${reason}`)),
  });
  if (failures[0] !== undefined) throw failures[0];
}
