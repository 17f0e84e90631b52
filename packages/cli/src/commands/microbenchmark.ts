// tray microbenchmark: the runner is a bundle of its own (dist/bench.cjs), loaded only here.
import { isTrayError } from "@tray/common";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { printValue, renderTable } from "../output/format.js";

/** What dist/bench.cjs exports as `runMicrobenchmark`. */
export type RunMicrobenchmark = (options: {
  /** Cases whose name contains it; absent = all. */
  filter?: string;
  /** GCS to run against; absent = a cluster of its own. */
  address?: string;
  onResult: (result: BenchmarkResult) => void;
  signal: AbortSignal;
}) => Promise<void>;

export interface BenchmarkResult {
  readonly name: string;
  readonly perSecond: number;
  readonly unit: string;
  readonly detail?: string;
}

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
      if (!structured)
        context.stdout.write(
          renderTable(
            [result],
            [
              { title: "", value: (r) => r.name.padEnd(48) },
              { title: "", value: (r) => `${Math.round(r.perSecond).toLocaleString("en")} ${r.unit}` },
              { title: "", value: (r) => r.detail ?? "" },
            ],
          )
            .split("\n")
            .slice(1)
            .join("\n"),
        );
    },
  });
  if (structured) await printValue(context, session.format, { items: results, total: results.length, truncated: false });
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
