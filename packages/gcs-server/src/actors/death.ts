// Why an actor is dead: what every caller will read. A sentence that says what happened, where and when, and the same facts as data.
import { type ActorInfo, ErrorInfo, type WorkerExit } from "@tray/protocol";

export type DeathReason =
  | "creation-failed"
  | "worker-died"
  | "node-died"
  | "killed"
  | "out-of-scope"
  | "exited"
  | "owner-died"
  | "job-ended"
  | "unschedulable";

export interface Death {
  readonly reason: DeathReason;
  /** "its worker process was killed by SIGKILL", without the actor and without a full stop. */
  readonly sentence: string;
  readonly exit?: WorkerExit | undefined;
  /** The constructor's error, or why creating it failed. */
  readonly error?: ErrorInfo | undefined;
}

/** "Counter 'c' (0000…)" */
export function describeActor(info: ActorInfo): string {
  const name = info.spec?.name ?? "";
  return `actor ${info.spec?.className ?? "?"}${name === "" ? "" : ` '${name}'`} (${info.actorId})`;
}

/** How a worker process ended, in words. */
export function describeExit(exit: WorkerExit | undefined): string {
  if (exit === undefined) return "its worker process died";
  const where = ` (pid ${exit.pid} on node ${exit.nodeId})`;
  if (exit.message !== "") return `${exit.message}${where}`;
  if (exit.signal !== "") return `its worker process was ended by ${exit.signal}${where}`;
  if (exit.exitCode !== undefined) return `its worker process exited with code ${exit.exitCode}${where}`;
  return `its worker process died (${exit.reason === "" ? "why is unknown" : exit.reason})${where}`;
}

export function deathCause(info: ActorInfo, death: Death, wallMs: number): ErrorInfo {
  const { exit, error } = death;
  const details = {
    reason: death.reason,
    actorId: info.actorId,
    className: info.spec?.className,
    name: info.spec?.name,
    namespace: info.spec?.namespace,
    nodeId: exit?.nodeId ?? info.nodeId,
    pid: exit?.pid ?? info.pid,
    exitCode: exit?.exitCode,
    signal: exit?.signal === "" ? undefined : exit?.signal,
    stderrTail: exit?.stderrTail,
    incarnation: info.incarnation,
    numRestarts: info.numRestarts,
    maxRestarts: info.spec?.maxRestarts,
    diedAt: new Date(wallMs).toISOString(),
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message } }),
  };
  return ErrorInfo.create({
    code: codeFor(death),
    message: `${describeActor(info)} died: ${death.sentence}`,
    hint: error?.hint ?? "",
    detailsJson: JSON.stringify({ ...detailsOf(error), ...details }),
    cause: error?.cause ?? Buffer.alloc(0),
  });
}

/** Failures with a class of their own keep it; what the constructor threw is the cause of an ActorDiedError. */
function codeFor({ reason, error }: Death): string {
  if (reason === "unschedulable") return "ACTOR_UNSCHEDULABLE";
  return error !== undefined && ownCodes.has(error.code) ? error.code : "ACTOR_DIED";
}
const ownCodes: ReadonlySet<string> = new Set(["RUNTIME_ENV_SETUP", "OUT_OF_MEMORY", "ACTOR_UNSCHEDULABLE"]);

function detailsOf(error: ErrorInfo | undefined): Record<string, unknown> {
  if (error === undefined || error.detailsJson === "") return {};
  try {
    return JSON.parse(error.detailsJson) as Record<string, unknown>;
  } catch {
    return {}; // another process's text; the message says enough
  }
}
