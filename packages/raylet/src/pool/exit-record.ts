// WorkerExit: how a worker process ended, in fields for programs and one sentence for people.
import { WorkerExit } from "@tray/protocol";
import type { Departed } from "./core.js";
import type { ProcessExit } from "./spawner.js";
import type { ExitReason } from "./worker.js";

const wireReasons: Record<ExitReason, string> = {
  intended: "intended",
  killed: "killed",
  crashed: "crashed",
  idle: "idle",
  "job-ended": "job-ended",
  "owner-died": "killed",
  "start-failed": "crashed",
  "node-died": "node-died",
};

export function exitRecordOf(nodeId: string, departed: Departed, exit: ProcessExit, wallMs: number): WorkerExit {
  const { worker } = departed;
  const how = exit.failure !== "" ? exit.failure : exit.signal !== "" ? `it was ended by ${exit.signal}` : `it exited with code ${exit.code}`;
  const why = departed.detail === "" ? "" : ` (${departed.detail})`;
  return WorkerExit.fromPartial({
    workerId: worker.workerId,
    nodeId,
    pid: worker.pid,
    ...(exit.code === null ? {} : { exitCode: exit.code }),
    signal: exit.signal,
    stderrTail: [...exit.stderrTail],
    reason: wireReasons[departed.reason],
    wallMs,
    message: `worker process ${worker.pid} on node ${nodeId.slice(0, 8)}: ${how}${why}`,
  });
}
