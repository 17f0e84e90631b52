// The simulator: seeds in, one line a failing seed out. What it does: docs/testing.md.
import { simulate, type SimulationOptions, type SimulationResult, workloads } from "@tray/testkit";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

const usage = `npm run sim -- [options]
  --seed N          one seed (again: exactly what it did before)
  --seeds A..B      these seeds, both included   (default 1..50)
  --trace           print the event log
  --hash            print the hash of each seed's event log
  --twice           run each seed twice and compare the hashes
  --only a,b        only these workloads: ${Object.keys(workloads).join(", ")}
  --check-every N   let the daemons check themselves once in N events (default 64)
  --report FILE     write {"seeds", "failed", "failures"} there`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string", default: "1..50" },
      trace: { type: "boolean", default: false },
      hash: { type: "boolean", default: false },
      twice: { type: "boolean", default: false },
      only: { type: "string" },
      "check-every": { type: "string" },
      report: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return;
  }
  const [first, last] = values.seed === undefined ? values.seeds.split("..").map(Number) : [Number(values.seed), Number(values.seed)];
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last)) throw new Error(`not a range of seeds: ${values.seed ?? values.seeds}\n${usage}`);
  const options: SimulationOptions = {
    trace: values.trace ? (line) => console.log(line) : undefined,
    only: values.only?.split(","),
    checkEvery: values["check-every"] === undefined ? undefined : Number(values["check-every"]),
    catchEscaped,
  };
  const failures: { seed: number; message: string }[] = [];
  let seeds = 0;
  let events = 0;
  const startedMs = performance.now();
  for (let seed = first as number; seed <= (last as number); seed++) {
    const result = await simulate(seed, options);
    const problems = [...result.failures];
    if (values.twice) {
      const again = await simulate(seed, { ...options, trace: undefined });
      if (again.hash !== result.hash) problems.push(`not deterministic: ${result.hash}, then ${again.hash}`);
    }
    seeds++;
    events += result.events;
    if (values.hash) console.log(`seed ${seed}  ${result.hash}  ${result.events} events  ${Math.round(result.simulatedMs)} ms`);
    if (problems.length === 0) continue;
    const message = problems[0] as string;
    failures.push({ seed, message });
    console.log(lineOf(result, message));
  }
  if (values.report !== undefined) writeFileSync(values.report, `${JSON.stringify({ seeds, failed: failures.length, failures })}\n`);
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(`${seeds} seeds, ${failures.length} failed (${(events / 1000).toFixed(0)} k events in ${seconds.toFixed(1)} s)`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}

const lineOf = ({ seed, faults }: SimulationResult, message: string): string =>
  `seed ${seed} [${faults.join(" ")}] ${message.split("\n", 4).join(" | ")}   replay: npm run sim -- --seed ${seed} --trace`;

function catchEscaped(report: (error: unknown) => void): () => void {
  process.on("uncaughtException", report);
  process.on("unhandledRejection", report);
  return () => {
    process.off("uncaughtException", report);
    process.off("unhandledRejection", report);
  };
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 2;
});
