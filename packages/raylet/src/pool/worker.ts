// The life of one worker process as the pool sees it.
import type { Edges } from "@tray/common";

/** What a worker process must be made for. Processes are started for an environment; the job is theirs from their first lease on. */
export interface WorkerKind {
  readonly jobId: string;
  /** Empty = none. */
  readonly envHash: string;
  readonly envJson: string;
}

/** What a worker serves. */
export type WorkerUse =
  | { readonly kind: "lease"; readonly leaseId: string }
  | { readonly kind: "actor"; readonly actorId: string; readonly incarnation: number };

/** Why a worker ends, in the words of WorkerExit.reason. */
export type ExitReason = "intended" | "killed" | "crashed" | "idle" | "job-ended" | "owner-died" | "start-failed" | "node-died";

export type WorkerState =
  | { readonly kind: "starting" }
  | { readonly kind: "idle"; readonly sinceMs: number }
  | { readonly kind: "leased"; readonly leaseId: string }
  | { readonly kind: "actor"; readonly actorId: string; readonly incarnation: number }
  | { readonly kind: "exiting"; readonly reason: ExitReason; readonly detail: string; readonly use: WorkerUse | undefined; killAtMs: number }
  | { readonly kind: "dead" };

export const workerEdges: Edges<WorkerState["kind"]> = {
  starting: ["idle", "exiting", "dead"],
  idle: ["leased", "actor", "exiting", "dead"],
  leased: ["idle", "exiting", "dead"],
  actor: ["exiting", "dead"],
  exiting: ["dead"],
  dead: [],
};

export interface PoolWorker {
  readonly workerId: string;
  readonly startToken: string;
  readonly envHash: string;
  /** Empty until its first lease (W4). */
  jobId: string;
  pid: number;
  endpoint: string;
  readonly startedMs: number;
  /** It registered: others may know it, so its death is news. */
  registered: boolean;
  state: WorkerState;
}

/** Someone waits for a worker. */
export interface Ticket {
  /** Unique: a lease id, or an actor's id and incarnation. */
  readonly id: string;
  readonly kind: WorkerKind;
  readonly use: WorkerUse;
  readonly sinceMs: number;
}
