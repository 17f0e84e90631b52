// JobRecord: a submitted job as the GCS keeps it (key-value, namespace `submissions`), and the only ways to change it.
//
// Every writer (dashboard, job supervisor) changes a record by compare-and-swap through these functions, so their order is the order of the swaps.
//
// Invariants
//   J1. A terminal status is final: a change of a terminal record is refused.
//   J2. An attempt to run a job is numbered; RUNNING is entered only by the supervisor of the present attempt. So a job that was placed twice (the first
//       placement's answer was lost) runs once.
//   J3. RUNNING is recorded before the entrypoint starts: a PENDING record means that it never ran.
import { checkEdge, type Edges } from "@tray/common";

export type JobStatus = "PENDING" | "RUNNING" | "STOPPED" | "SUCCEEDED" | "FAILED";

export const jobEdges: Edges<JobStatus> = {
  PENDING: ["RUNNING", "STOPPED", "FAILED"],
  RUNNING: ["STOPPED", "SUCCEEDED", "FAILED"],
  STOPPED: [],
  SUCCEEDED: [],
  FAILED: [],
};

export const isTerminal = (status: JobStatus): boolean => jobEdges[status].length === 0;

/** Ray's names, which its client prints. */
export type JobErrorType =
  | "RUNTIME_ENV_SETUP_FAILURE"
  | "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
  | "JOB_SUPERVISOR_ACTOR_START_FAILURE"
  | "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
  | "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
  | "JOB_SUPERVISOR_ACTOR_DIED"
  | "JOB_ENTRYPOINT_COMMAND_START_ERROR"
  | "JOB_ENTRYPOINT_COMMAND_ERROR";

/** What the entrypoint needs of its node, user quantities. */
export interface EntrypointNeeds {
  readonly numCpus: number;
  readonly numGpus: number;
  readonly memoryBytes: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly labelSelector: Readonly<Record<string, string>>;
}

/** One try to run the job on a node. */
export interface Placement {
  readonly attempt: number;
  readonly nodeId: string;
  /** host:port of the node's raylet. */
  readonly raylet: string;
  readonly host: string;
}

export interface JobRecord {
  readonly submissionId: string;
  readonly status: JobStatus;
  readonly entrypoint: string;
  readonly message: string;
  readonly errorType: JobErrorType | null;
  /** Wall-clock milliseconds of the submission. */
  readonly startMs: number;
  readonly endMs: number | null;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly runtimeEnv: Readonly<Record<string, unknown>> | null;
  readonly needs: EntrypointNeeds;
  readonly placement: Placement | null;
  /** Attempts so far; the next one gets this number plus one. */
  readonly attempts: number;
  /** Where the supervisor of the present attempt answers, to be watched. */
  readonly supervisor: { readonly address: string; readonly incarnation: string; readonly pid: number } | null;
  readonly exitCode: number | null;
  readonly stopRequested: boolean;
}

/** The changed record, or why it does not change. */
export type Change = { readonly record: JobRecord } | { readonly refused: "terminal" | "stale-attempt" | "unchanged" };

export function newRecord(job: Pick<JobRecord, "submissionId" | "entrypoint" | "metadata" | "runtimeEnv" | "needs">, nowMs: number): JobRecord {
  const record: JobRecord = {
    ...job,
    status: "PENDING",
    message: "",
    errorType: null,
    startMs: Math.floor(nowMs),
    endMs: null,
    placement: null,
    attempts: 0,
    supervisor: null,
    exitCode: null,
    stopRequested: false,
  };
  return { ...record, message: defaultMessage(record) };
}

/** A node was chosen; it is asked next. */
export function place(record: JobRecord, node: Omit<Placement, "attempt">): Change {
  if (record.status !== "PENDING") return { refused: isTerminal(record.status) ? "terminal" : "unchanged" };
  const attempt = record.attempts + 1;
  return { record: { ...record, attempts: attempt, placement: { ...node, attempt } } };
}

/** The node of `attempt` refused, or is dead before the entrypoint ran. */
export function unplace(record: JobRecord, attempt: number): Change {
  if (isTerminal(record.status)) return { refused: "terminal" };
  if (record.status !== "PENDING" || record.placement?.attempt !== attempt) return { refused: "stale-attempt" };
  return { record: { ...record, placement: null } };
}

/** From the supervisor, before it starts the entrypoint (J3). A stop that came first wins. */
export function run(record: JobRecord, attempt: number, supervisor: NonNullable<JobRecord["supervisor"]>, nowMs: number): Change {
  if (isTerminal(record.status)) return { refused: "terminal" };
  if (record.placement?.attempt !== attempt || record.status !== "PENDING") return { refused: "stale-attempt" }; // J2
  if (record.stopRequested) return finish(record, { status: "STOPPED" }, nowMs);
  return { record: withStatus({ ...record, supervisor }, "RUNNING") };
}

export interface Outcome {
  readonly status: "STOPPED" | "SUCCEEDED" | "FAILED";
  readonly message?: string;
  readonly errorType?: JobErrorType;
  readonly exitCode?: number | null;
}

export function finish(record: JobRecord, outcome: Outcome, nowMs: number): Change {
  if (isTerminal(record.status)) return { refused: "terminal" }; // J1
  const done = withStatus(record, outcome.status);
  return {
    record: {
      ...done,
      ...(outcome.message === undefined ? {} : { message: outcome.message }),
      errorType: outcome.errorType ?? null,
      exitCode: outcome.exitCode ?? null,
      endMs: Math.floor(nowMs),
    },
  };
}

/** A job without a node stops at once; otherwise its supervisor does it. */
export function requestStop(record: JobRecord, nowMs: number): Change {
  if (isTerminal(record.status)) return { refused: "terminal" };
  if (record.placement === null) return finish({ ...record, stopRequested: true }, { status: "STOPPED" }, nowMs);
  return record.stopRequested ? { refused: "unchanged" } : { record: { ...record, stopRequested: true } };
}

function withStatus(record: JobRecord, status: JobStatus): JobRecord {
  checkEdge(`job ${record.submissionId}`, jobEdges, record.status, status);
  const next = { ...record, status };
  return { ...next, message: defaultMessage(next) };
}

/** Ray's texts; its documentation and its users' scripts know them. */
export function defaultMessage(record: Pick<JobRecord, "status" | "needs" | "runtimeEnv">): string {
  switch (record.status) {
    case "PENDING": {
      const { numCpus, numGpus, memoryBytes, resources } = record.needs;
      const needy = numCpus > 0 || numGpus > 0 || memoryBytes > 0 || Object.keys(resources).length > 0;
      const env = record.runtimeEnv !== null && Object.keys(record.runtimeEnv).length > 0;
      return [
        "Job has not started yet.",
        needy ? " It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available." : "",
        env ? " It may be waiting for the runtime environment to be set up." : "",
      ].join("");
    }
    case "RUNNING":
      return "Job is currently running.";
    case "STOPPED":
      return "Job was intentionally stopped.";
    case "SUCCEEDED":
      return "Job finished successfully.";
    case "FAILED":
      return "Job failed.";
  }
}
