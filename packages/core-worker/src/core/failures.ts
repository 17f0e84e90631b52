// Building the failures that travel: ErrorInfo on the wire, Failure between the threads.
import { type ErrorCode, isTrayError, messageOf } from "@tray/common";
import type { ErrorInfo, WorkerExit } from "@tray/protocol";
import type { Failure } from "../thread/to-user.js";
import type { TaskEntry } from "./task-entry.js";

const noCause = Buffer.alloc(0);

export function errorInfo(
  code: ErrorCode,
  message: string,
  options: { hint?: string; details?: Record<string, unknown>; cause?: Buffer } = {},
): ErrorInfo {
  return {
    code,
    message,
    hint: options.hint ?? "",
    detailsJson: options.details === undefined ? "" : JSON.stringify(options.details),
    cause: options.cause ?? noCause,
  };
}

export function errorInfoOf(error: unknown): ErrorInfo {
  if (!isTrayError(error)) return errorInfo("SYSTEM", messageOf(error));
  return errorInfo(error.code, error.message, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.details === undefined ? {} : { details: error.details }),
  });
}

export const failureOf = (error: ErrorInfo): Failure => error;

/** "worker 1a2b… (pid 123 on node 3c4d…) exited with code 1". */
export function describeExit(exit: WorkerExit): string {
  if (exit.message !== "") return exit.message; // a raylet's sentence names the process and the node itself
  const who = `worker ${exit.workerId.slice(0, 8)} (pid ${exit.pid} on node ${exit.nodeId.slice(0, 8)})`;
  if (exit.signal !== "") return `${who} was killed by ${exit.signal}`;
  if (exit.exitCode !== undefined) return `${who} exited with code ${exit.exitCode}`;
  return `${who} died`;
}

/** The error of a task whose worker died and whose retries are spent. */
export function workerCrashed(taskName: string, exit: WorkerExit, attempts: number): ErrorInfo {
  const tail = exit.stderrTail.length === 0 ? "" : `\nlast lines of its stderr:\n  ${exit.stderrTail.join("\n  ")}`;
  return errorInfo("WORKER_CRASHED", `task ${taskName} failed after ${attempts} attempt${attempts === 1 ? "" : "s"}: ${describeExit(exit)}${tail}`, {
    details: {
      nodeId: exit.nodeId,
      pid: exit.pid,
      workerId: exit.workerId,
      exitCode: exit.exitCode,
      signal: exit.signal,
      reason: exit.reason,
      stderrTail: exit.stderrTail,
    },
  });
}

export function cancelledError({ template, id }: TaskEntry): ErrorInfo {
  return errorInfo("TASK_CANCELLED", `task ${template.options.name} was cancelled`, { details: { taskId: id } });
}

/** Its process ended by itself, when it had answered all that it began and everybody had confirmed what it passed on. */
export function leftInOrder({ reason, exitCode }: WorkerExit): boolean {
  return exitCode === 0 && (reason === "intended" || reason === "idle");
}
