// tray microbenchmark: the runner is a bundle of its own (dist/bench.cjs), loaded only here.
import { isTrayError } from "@tray/common";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { printValue } from "../output/format.js";

/** What dist/bench.cjs exports as `runMicrobenchmark`. */
export type RunMicrobenchmark = (options: {
  /** Cases whose name contains it, or one of several texts separated by commas; absent = those that take seconds. */
  filter?: string;
  /** GCS to run against; absent = a cluster of its own. Cases that start clusters do so either way. */
  address?: string;
  onResult: (result: BenchmarkResult) => void;
  signal: AbortSignal;
}) => Promise<void>;

export interface BenchmarkResult {
  readonly name: string;
  /** Of several measurements, in `unit`. */
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  /** The three figures, each as people want it. */
  readonly texts: { readonly median: string; readonly min: string; readonly max: string };
}

const nameWidth = 36;
const figureWidth = 12;

export async function microbenchmark(session: Session, flags: { filter?: string }): Promise<number> {
  const { context } = session;
  const file = join(context.binDir, "..", "bench.cjs");
  if (!existsSync(file)) throw new CliFailure(exitCodes.internal, "INTERNAL", `${file} is missing`, "build it with: npm run build");
  const { runMicrobenchmark } = createRequire(file)(file) as { runMicrobenchmark: RunMicrobenchmark };
  const results: BenchmarkResult[] = [];
  const structured = session.format === "json" || session.format === "yaml";
  await runMicrobenchmark({
    ...(flags.filter === undefined ? {} : { filter: flags.filter }),
    ...addressOf(session),
    signal: context.interruption,
    onResult: (result) => {
      results.push(result);
      if (structured) return;
      const { name, unit, texts } = result;
      // Line by line: the next result is seconds away, so there is no table to measure columns by.
      context.stdout.write(
        `${name.padEnd(nameWidth)}${texts.median.padStart(figureWidth)} ${unit.padEnd(figureWidth)}${texts.min} to ${texts.max}\n`,
      );
    },
  });
  const items = results.map(({ name, median, min, max, unit }) => ({ name, median, min, max, unit }));
  if (structured) await printValue(context, session.format, { items, total: items.length, truncated: false });
  return exitCodes.ok;
}

function addressOf(session: Session): { address?: string } {
  try {
    return { address: findTarget(session).address };
  } catch (error) {
    if (
      (error instanceof CliFailure && error.exitCode === exitCodes.unreachable && session.flags.address === undefined) ||
      isTrayError(error, "NOT_FOUND")
    )
      return {};
    throw error;
  }
}
