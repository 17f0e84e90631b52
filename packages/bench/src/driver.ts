// Each measurement has a process of its own, so that no case finds what another one left: heaps, compiled code, clusters.
// `measureInProcess` is the asking side, `runDriver` runs in that process.
import { sleep, systemClock, TrayError } from "@tray/common";
import { type Bench, type Samples, type Windows } from "./case.js";
import { cases } from "./cases/index.js";
import { loadTray } from "./library.js";
import { answerMark, type Environment, runForAnswer } from "./process.js";
import { measureBare } from "./peers/bare.js";

/** What the measuring process is told on its command line. */
export interface DriverRequest {
  readonly system: "tray" | "bare";
  readonly caseName: string;
  readonly windows: Windows;
  readonly cpus: number;
  /** A cluster to use; absent = one of its own. */
  readonly address: string | undefined;
  readonly scratchDir: string;
}

const closeDeadlineMs = 20_000;

/** Runs one case in a fresh process. `bundleFile` is the bundle that exports runDriver. */
export function measureInProcess(bundleFile: string, request: DriverRequest, env: Environment, signal: AbortSignal): Promise<Samples> {
  // The interval holds the process: timers of the clock do not. The last line of a failure is its message, as it is for Python.
  const script = `const hold = setInterval(() => {}, 0x3fffffff);
    require(${JSON.stringify(bundleFile)}).runDriver(${JSON.stringify(request)}, process.env, (line) => process.stdout.write(line))
      .catch((error) => { console.error(error); console.error(String(error)); process.exitCode = 1; })
      .finally(() => clearInterval(hold));`;
  return runForAnswer(process.execPath, ["-e", script], { env, cwd: request.scratchDir, signal });
}

export async function runDriver(request: DriverRequest, env: Environment, write: (line: string) => void): Promise<void> {
  const samples =
    request.system === "bare"
      ? await measureBare(request.caseName, { clock: systemClock, windows: request.windows })
      : await measureTray(request, env);
  write(`${answerMark}${JSON.stringify(samples)}\n`);
}

async function measureTray(request: DriverRequest, env: Environment): Promise<Samples> {
  const chosen = cases.find((c) => c.name === request.caseName);
  if (chosen?.measure === undefined) throw new TrayError("INVALID_ARGUMENT", `there is no case ${request.caseName}`);
  const closers: (() => Promise<void> | void)[] = [];
  const tray = loadTray();
  const bench: Bench = { ...request, env, clock: systemClock, tray, defer: (close) => void closers.push(close) };
  try {
    if (!chosen.ownCluster) {
      closers.push(() => tray.shutdown());
      await tray.init(request.address === undefined ? { address: "local", numCpus: request.cpus } : { address: request.address });
      await warm(tray, request.cpus);
    }
    return await chosen.measure(bench);
  } finally {
    for (const close of closers.reverse()) {
      await Promise.race([close(), sleep(systemClock, closeDeadlineMs)]);
    }
  }
}

/** Workers are started and have been used before anything is measured. */
async function warm(tray: ReturnType<typeof loadTray>, cpus: number): Promise<void> {
  const noop = tray.remote(() => undefined);
  for (let round = 0; round < 5; round++) await tray.get(Array.from({ length: 20 * cpus }, () => noop.remote()));
}
