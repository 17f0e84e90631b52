// What the node tells about itself: `tray status`, `tray list workers`, heartbeats.
import type { WorkerInfo } from "@tray/protocol";
import type { DriverWatch } from "../drivers/watch.js";
import type { RayletEnvironment } from "../node.js";
import type { WorkerPoolService } from "../pool/service.js";
import type { PoolWorker } from "../pool/worker.js";
import type { ResourceLedger } from "../resources/ledger.js";

/** Memory of processes and of the node, where there is a /proc to read it from. */
export interface MemoryProbe {
  /** Resident bytes of a process; 0 = unknown. */
  residentBytes(pid: number): number;
  node(): { usedBytes: number; totalBytes: number };
}

export const noMemoryProbe: MemoryProbe = { residentBytes: () => 0, node: () => ({ usedBytes: 0, totalBytes: 0 }) };

export function workerInfos(
  env: RayletEnvironment,
  pool: WorkerPoolService,
  drivers: DriverWatch,
  ledger: ResourceLedger,
  memory: MemoryProbe,
): WorkerInfo[] {
  const toWall = env.clock.wallMs() - env.clock.now();
  const workers = [...pool.core.all()].map((worker): WorkerInfo => {
    const use = worker.state.kind === "exiting" ? worker.state.use : worker.state;
    const actorId = use?.kind === "actor" ? use.actorId : "";
    return {
      workerId: worker.workerId,
      nodeId: env.node.nodeId,
      pid: worker.pid,
      kind: actorId === "" ? "worker" : "actor",
      state: shownState(worker, ledger),
      actorId,
      taskName: pool.activityOf(worker.workerId)?.taskName ?? "",
      residentBytes: memory.residentBytes(worker.pid),
      jobId: worker.jobId,
      startWallMs: worker.startedMs + toWall,
    };
  });
  for (const driver of drivers.all()) {
    workers.push({
      workerId: driver.workerId,
      nodeId: env.node.nodeId,
      pid: driver.pid,
      kind: "driver",
      state: "idle",
      actorId: "",
      taskName: "",
      residentBytes: memory.residentBytes(driver.pid),
      jobId: driver.jobId,
      startWallMs: driver.sinceWallMs,
    });
  }
  return workers;
}

function shownState(worker: PoolWorker, ledger: ResourceLedger): string {
  const { state } = worker;
  if (state.kind === "leased" && ledger.isBlocked(state.leaseId)) return "blocked";
  return state.kind;
}
