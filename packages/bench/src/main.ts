// `npm run bench`: flags, peers, and where the results go.
import { type Clock, TrayError } from "@tray/common";
import { trayVersion } from "@tray/protocol";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus as cpuList, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { System, Windows } from "./case.js";
import { cases } from "./cases/index.js";
import { compare, type Failure } from "./comparison.js";
import { judge } from "./judgement.js";
import { casesNamed } from "./microbenchmark.js";
import { openPiscina } from "./peers/piscina.js";
import type { PeerHost, PeerSystem } from "./peers/peer.js";
import { openRay } from "./peers/ray.js";
import type { Environment } from "./process.js";
import { renderMarkdown } from "./report.js";
import type { Results } from "./results.js";
import { formatFigure, ratio, summarize } from "./stats.js";

export interface BenchHost {
  readonly clock: Clock;
  readonly env: Environment;
  readonly bundleFile: string;
  /** packages/bench. */
  readonly sourceDir: string;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

const usage = `npm run bench -- [flags]
  --filter TEXT          only cases whose name contains it, or one of several separated by commas
  --compare ray,piscina  measure these beside tray (installed outside the repository at first use)
  --cpus N               CPUs of each cluster (2)
  --windows N            windows of a rate (3)       --seconds S   length of one (1)
  --repetitions N        of what is measured once at a time (3)
  --rounds N             how often each case is run (1)
  --json FILE            write all samples, after each case
  --from FILE            measure nothing; report what --json wrote
  --write FILE           write the report (docs/benchmarks.md)`;

const flags = ["filter", "compare", "cpus", "windows", "seconds", "repetitions", "rounds", "json", "from", "write"] as const;
const caseLimitMs = 120_000;
const openers: Readonly<Record<string, (host: PeerHost) => Promise<PeerSystem>>> = { ray: openRay, piscina: openPiscina };

/** @returns the exit code: 1 when a case could not be measured. */
export async function benchMain(argv: readonly string[], host: BenchHost): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: { ...Object.fromEntries(flags.map((name) => [name, { type: "string" as const }])), help: { type: "boolean" } },
  });
  const text = (name: (typeof flags)[number]): string | undefined => (values as Readonly<Record<string, unknown>>)[name] as string | undefined;
  if (values["help"] === true) {
    host.say(usage);
    return 0;
  }
  const from = text("from");
  const results = from === undefined ? await measureAll(text, host) : (JSON.parse(readFileSync(from, "utf8")) as Results);
  for (const { row, asked, reached, verdict } of judge(results)) {
    if (verdict !== "not measured") host.say(`${verdict === "met" ? "met   " : "MISSED"}  ${row}: ${asked}, is ${reached}`);
  }
  const report = text("write");
  if (report !== undefined) writeFileSync(report, renderMarkdown(results));
  return results.failures.length > 0 ? 1 : 0;
}

async function measureAll(text: (name: (typeof flags)[number]) => string | undefined, host: BenchHost): Promise<Results> {
  const number = (name: (typeof flags)[number], fallback: number): number => {
    const value = Number(text(name) ?? fallback);
    if (!(value > 0)) throw new TrayError("INVALID_ARGUMENT", `--${name} takes a number above 0`);
    return value;
  };
  // Whole milliseconds: what the peers' scripts take.
  const windowMs = Math.round(number("seconds", 1) * 1000);
  const windows: Windows = {
    warmUpMs: Math.max(200, Math.round(windowMs / 3)),
    windowMs,
    count: number("windows", 3),
    repetitions: number("repetitions", 3),
  };
  const cpus = number("cpus", 2);
  const rounds = number("rounds", 1);
  const filters = text("filter");
  const chosen = filters === undefined ? cases : casesNamed(filters);
  const peers: PeerSystem[] = [];
  for (const name of text("compare")?.split(",") ?? []) {
    const open = openers[name];
    if (open === undefined) throw new TrayError("INVALID_ARGUMENT", `--compare knows ${Object.keys(openers).join(", ")}; not ${name}`);
    peers.push(await open({ ...host, cacheDir: join(tmpdir(), "tray-bench") }));
  }
  const samples: Partial<Record<System, Record<string, number[]>>> = {};
  const failures: Failure[] = [];
  const results: Results = {
    date: new Date(host.clock.wallMs()).toISOString().slice(0, 10),
    machine: {
      cores: cpuList().length,
      cpu: cpuList()[0]?.model.trim() ?? "",
      kernel: release().replace(/-.*/, ""),
      memoryGibibytes: totalmem() / 2 ** 30,
      load: loadavg()[0] as number,
    },
    node: process.versions.node,
    tray: trayVersion,
    cpus,
    method: `${cpus} CPUs a cluster; each measurement in a fresh process; ${windows.count} windows of ${windowMs / 1000} s after a warm-up, ${windows.repetitions} repetitions of what happens once, ${rounds} round(s); medians, and below them the least and the greatest`,
    peers: peers.map(({ system, title, detail }) => ({ system, title, detail })),
    samples,
    failures,
  };
  const json = text("json");
  const save = (): void => void (json !== undefined && writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`));
  await compare({
    ...host,
    cases: chosen,
    peers,
    windows,
    cpus,
    address: undefined,
    rounds,
    caseLimitMs,
    onMeasured: ({ system, case: { rows }, samples: fresh }) => {
      for (const row of rows) {
        const found = fresh[row.name];
        if (found === undefined || found.length === 0) continue;
        ((samples[system] ??= {})[row.name] ??= []).push(...found);
        const { median, min, max } = summarize(found);
        const ours = samples.tray?.[row.name];
        const versus =
          system === "tray" || ours === undefined ? "" : `  tray : ${system} = ${formatFigure(ratio(summarize(ours).median, median, row.better))}`;
        host.say(
          `${row.name.padEnd(36)} ${system.padEnd(8)} ${formatFigure(median).padStart(12)} ${row.unit}  (${formatFigure(min)} to ${formatFigure(max)})${versus}`,
        );
      }
      save();
    },
    onFailed: (failure) => {
      failures.push(failure);
      host.say(`${failure.caseName.padEnd(36)} ${failure.system.padEnd(8)} FAILED: ${failure.reason}`);
      save();
    },
  });
  return results;
}
