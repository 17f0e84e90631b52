// The life of a head: how fast it starts, answers, stops, and what it takes while nothing happens.
import { sleep, TrayError } from "@tray/common";
import { join } from "node:path";
import { type Bench, type Case, timed } from "../case.js";
import { trayCommand } from "../library.js";
import { answerMark, run, runForAnswer } from "../process.js";
import { memoryOf } from "../proc.js";

interface Started {
  readonly gcsAddress: string;
  readonly supervisorPid: number;
}

const idleMs = 3000;
const workersDeadlineMs = 30_000;

export const command = (bench: Bench, ...args: string[]): Promise<string> => run(process.execPath, [trayCommand(), ...args], { env: bench.env });

export async function startHead(bench: Bench, ...more: string[]): Promise<Started> {
  const out = await command(bench, "start", "--head", "--port", "0", "--dashboard-port", "0", "--node-ip", "127.0.0.1", "-o", "json", ...more);
  return JSON.parse(out) as Started;
}

/** What a driver does until it is connected, in a process of its own, without Node's start. */
const connectScript = (library: string, address: string): string => `
  const tray = require(${JSON.stringify(library)});
  const begin = performance.now();
  tray.init({ address: ${JSON.stringify(address)} }).then(async () => {
    const took = performance.now() - begin;
    await tray.shutdown();
    console.log(${JSON.stringify(answerMark)} + JSON.stringify(took));
  });`;

export const headLife: Case = {
  name: "head",
  group: "cluster",
  rows: [
    { name: "start_head", unit: "ms", better: "lower", what: "the command that starts a head with its dashboard, until it returns" },
    { name: "driver_connect", unit: "ms", better: "lower", what: "init() of a driver in a fresh process, without loading the library" },
    { name: "status", unit: "ms", better: "lower", what: "the status command" },
    {
      name: "idle_resident",
      unit: "MiB",
      better: "lower",
      what: "resident memory of all processes of an idle head with two workers, shared pages counted once for each",
    },
    { name: "idle_proportional", unit: "MiB", better: "lower", what: "the same, shared pages divided among those who share them" },
    { name: "stop", unit: "ms", better: "lower", what: "the stop command" },
  ],
  systems: ["tray", "ray"],
  ownCluster: true,
  once: true,
  measure: async (bench) => {
    const { clock } = bench;
    const samples = {
      start_head: [] as number[],
      driver_connect: [] as number[],
      status: [] as number[],
      idle_resident: [] as number[],
      idle_proportional: [] as number[],
      stop: [] as number[],
    };
    const library = join(trayCommand(), "../../dist/index.cjs");
    let running = false;
    bench.defer(async () => void (running && (await command(bench, "stop", "--force"))));
    for (let i = 0; i < bench.windows.repetitions; i++) {
      let started: Started | undefined;
      running = true;
      samples.start_head.push(
        await timed(clock, async () => {
          started = await startHead(bench, "--num-cpus", "2");
        }),
      );
      const { gcsAddress, supervisorPid } = started as Started;
      await workersReady(bench, 2);
      samples.driver_connect.push(await runForAnswer<number>(process.execPath, ["-e", connectScript(library, gcsAddress)], { env: bench.env }));
      samples.status.push(await timed(clock, () => command(bench, "status")));
      await sleep(clock, idleMs);
      const { residentMebibytes, proportionalMebibytes } = memoryOf(supervisorPid);
      samples.idle_resident.push(residentMebibytes);
      samples.idle_proportional.push(proportionalMebibytes);
      samples.stop.push(await timed(clock, () => command(bench, "stop")));
      running = false;
    }
    return samples;
  },
};

async function workersReady(bench: Bench, count: number): Promise<void> {
  const { clock } = bench;
  for (const begin = clock.now(); ; await sleep(clock, 100)) {
    const { nodes } = JSON.parse(await command(bench, "status", "-o", "json")) as { nodes?: { workers: number }[] };
    if ((nodes ?? []).reduce((sum, node) => sum + node.workers, 0) >= count) return;
    if (clock.now() - begin > workersDeadlineMs) throw new TrayError("SYSTEM", `the head has no ${count} workers after ${workersDeadlineMs} ms`);
  }
}
