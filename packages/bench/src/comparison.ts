// Runs cases for several systems, each measurement in a process of its own, and hands over what came out after every one of them.
import { type Clock, isTrayError, TrayError } from "@tray/common";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Case, Samples, System, Windows } from "./case.js";
import { measureInProcess } from "./driver.js";
import { trayCommand } from "./library.js";
import type { PeerSystem } from "./peers/peer.js";
import { type Environment, run } from "./process.js";

export interface Failure {
  readonly system: System;
  readonly caseName: string;
  readonly reason: string;
}

export interface Measured {
  readonly system: System;
  readonly case: Case;
  readonly samples: Samples;
}

export interface ComparisonOptions {
  readonly clock: Clock;
  readonly env: Environment;
  readonly signal: AbortSignal;
  /** The bundle that this code is in: measuring processes load it. */
  readonly bundleFile: string;
  readonly cases: readonly Case[];
  /** Measured beside tray and the bare primitives. */
  readonly peers: readonly PeerSystem[];
  readonly windows: Windows;
  readonly cpus: number;
  /** GCS of a cluster to use; absent = a local one for each case. Cases that start clusters do so either way. */
  readonly address: string | undefined;
  readonly rounds: number;
  /** A measurement that takes longer has failed. */
  readonly caseLimitMs: number;
  readonly onMeasured: (measured: Measured) => void;
  readonly onFailed: (failure: Failure) => void;
}

/** Variables that would send a measurement to a cluster that happens to run. */
const addressVariables = { TRAY_ADDRESS: undefined, RAY_ADDRESS: undefined };

/** @throws what `signal` was aborted with; a case that fails is told by onFailed, and the next one runs. */
export async function compare(o: ComparisonOptions): Promise<void> {
  for (let round = 0; round < o.rounds; round++) {
    for (const chosen of o.cases) {
      if (round > 0 && chosen.once) continue;
      // Systems take turns within a case, so that what disturbs the machine for a minute disturbs them all; the next round begins with another one.
      for (const system of rotated(systemsOf(chosen, o), round)) await measureOne(o, chosen, system);
    }
  }
}

function systemsOf(chosen: Case, o: ComparisonOptions): System[] {
  const present: readonly System[] = ["bare", "tray", ...o.peers.map((peer) => peer.system)];
  return present.filter((system) => chosen.systems.includes(system));
}

const rotated = <T>(values: readonly T[], by: number): T[] => values.map((_, i) => values[(i + by) % values.length] as T);

async function measureOne(o: ComparisonOptions, chosen: Case, system: System): Promise<void> {
  const scratchDir = mkdtempSync(join(tmpdir(), "tray-bench-"));
  const limit = new AbortController();
  const limited = o.clock.after(o.caseLimitMs, () =>
    limit.abort(new TrayError("DEADLINE_EXCEEDED", `it took longer than ${o.caseLimitMs / 1000} s`)),
  );
  try {
    const samples = await measure(o, chosen, system, scratchDir, AbortSignal.any([o.signal, limit.signal]));
    o.onMeasured({ system, case: chosen, samples });
  } catch (error) {
    o.signal.throwIfAborted();
    const cause: unknown = limit.signal.aborted ? limit.signal.reason : error;
    o.onFailed({ system, caseName: chosen.name, reason: isTrayError(cause) || cause instanceof Error ? cause.message : String(cause) });
  } finally {
    limited.cancel();
    rmSync(scratchDir, { recursive: true, force: true });
  }
}

async function measure(o: ComparisonOptions, chosen: Case, system: System, scratchDir: string, signal: AbortSignal): Promise<Samples> {
  const { cpus, windows } = o;
  const peer = o.peers.find((candidate) => candidate.system === system);
  if (peer !== undefined) return await peer.measure(chosen.name, { cpus, windows, scratchDir, signal });
  if (system !== "tray" && system !== "bare") throw new TrayError("INVALID_ARGUMENT", `${system} is not open`);
  const dataDir = join(scratchDir, "data");
  mkdirSync(dataDir);
  // A given cluster's token is found through the caller's own environment.
  const address = chosen.ownCluster ? undefined : o.address;
  const env = address === undefined ? { ...o.env, ...addressVariables, TRAY_DATA_DIR: dataDir } : o.env;
  try {
    return await measureInProcess(o.bundleFile, { system, caseName: chosen.name, windows, cpus, address, scratchDir }, env, signal);
  } catch (error) {
    // A measuring process that was ended, or ended itself, may have left its cluster behind. The signal may be what ended it: not passed on.
    if (system === "tray" && address === undefined) await run(process.execPath, [trayCommand(), "stop", "--force"], { env }).catch(() => undefined);
    throw error;
  }
}
