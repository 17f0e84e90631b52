// What a case is: something that a fresh process measures, giving samples for one row or several.
import type { Clock } from "@tray/common";
import type { Environment } from "./process.js";
import type { Tray } from "./library.js";

export type System = "tray" | "ray" | "piscina" | "bare";
export type Peer = Exclude<System, "tray">;
export const peers: readonly Peer[] = ["ray", "piscina", "bare"];

export const groups = ["tasks", "actors", "objects", "transfer", "cluster", "growth", "limits"] as const;
export type Group = (typeof groups)[number];

/** One line of the results. */
export interface Row {
  readonly name: string;
  /** Of the samples: "calls/s", "GiB/s", "ms", … */
  readonly unit: string;
  readonly better: "higher" | "lower";
  /** What is counted, in one sentence. */
  readonly what: string;
}

/** Samples by row; a row that could not be measured is absent. */
export type Samples = Readonly<Record<string, readonly number[]>>;

export interface Case {
  readonly name: string;
  readonly group: Group;
  readonly rows: readonly Row[];
  /** Systems that can run it. */
  readonly systems: readonly System[];
  /** Starts clusters of its own, so it cannot run against a given one. */
  readonly ownCluster: boolean;
  /** Runs once in a comparison, not once a round: it repeats itself, or is long. */
  readonly once: boolean;
  /** tray's side; peers know a case by its name. Absent where tray has no part in it. */
  readonly measure?: (bench: Bench) => Promise<Samples>;
}

/** How long the rates are measured. */
export interface Windows {
  readonly warmUpMs: number;
  readonly windowMs: number;
  readonly count: number;
  /** Repetitions of what is measured once at a time (start, transfer, …). */
  readonly repetitions: number;
}

/** What a case may use. */
export interface Bench {
  readonly clock: Clock;
  readonly windows: Windows;
  readonly cpus: number;
  /** The library; not connected yet where `ownCluster` is set. */
  readonly tray: Tray;
  /** Directory of this run; removed after it. */
  readonly scratchDir: string;
  /** Environment of commands; a case's clusters live below its TRAY_DATA_DIR. */
  readonly env: Environment;
  /** Ends what the case started, also when it fails; last in, first out. */
  readonly defer: (close: () => Promise<void> | void) => void;
}

/** A case with one row of its own name that measures a rate, connected. `prepare` gives the operation, which answers how many units it did. */
export function rateCase(
  o: Omit<Row, "better" | "unit"> & { group: Group; unit?: string; peers?: readonly Peer[] },
  prepare: (bench: Bench) => Promise<() => Promise<number>> | (() => Promise<number>),
): Case {
  return {
    name: o.name,
    group: o.group,
    rows: [{ name: o.name, unit: o.unit ?? "calls/s", better: "higher", what: o.what }],
    systems: ["tray", ...(o.peers ?? ["ray"])],
    ownCluster: false,
    once: false,
    measure: async (bench) => ({ [o.name]: await rates(bench, await prepare(bench)) }),
  };
}

/** Units a second in each window, after a warm-up; the method of Ray's microbenchmark. */
export async function rates({ clock, windows }: Pick<Bench, "clock" | "windows">, operation: () => Promise<number>): Promise<number[]> {
  await during(clock, windows.warmUpMs, operation);
  const samples: number[] = [];
  for (let i = 0; i < windows.count; i++) samples.push(await during(clock, windows.windowMs, operation));
  return samples;
}

async function during(clock: Clock, durationMs: number, operation: () => Promise<number>): Promise<number> {
  const begin = clock.now();
  let units = 0;
  let elapsedMs = 0;
  // At least one operation, however long it takes.
  do {
    units += await operation();
    elapsedMs = clock.now() - begin;
  } while (elapsedMs < durationMs);
  return (units / elapsedMs) * 1000;
}

/** Milliseconds that `operation` takes. */
export async function timed(clock: Clock, operation: () => Promise<unknown>): Promise<number> {
  const begin = clock.now();
  await operation();
  return clock.now() - begin;
}

/** Lets input in: without it, a loop over promises that are resolved already would keep the event loop from everything else. */
export const turn = (clock: Clock): Promise<void> => new Promise((resolve) => clock.endOfTurn(resolve));
