// The vocabulary of the lease queue: what owners ask, what the node does about it.
import type { ErrorCode } from "@tray/common";
import type { Resources, WaitCause } from "@tray/protocol";
import type { Shape } from "./shape.js";

/** One owner in one session with it: a new session starts from nothing (decision 0002). */
export type OwnerKey = string;

/** A level of demand, as LeaseDemand tells it. */
export interface Level {
  readonly wanted: number;
  readonly grantsSeen: number;
  readonly backlog: number;
  readonly meanTaskMs: number;
  readonly spilled: boolean;
  readonly argBytesByNode: Readonly<Record<string, number>>;
  readonly name: string;
}

export type LeaseEffect =
  | {
      readonly kind: "grant";
      readonly owner: OwnerKey;
      readonly classKey: string;
      readonly leaseId: string;
      readonly workerId: string;
      readonly grants: number;
    }
  | {
      readonly kind: "spillback";
      readonly owner: OwnerKey;
      readonly classKey: string;
      readonly placements: readonly { nodeId: string; raylet: string; count: number }[];
    }
  | {
      readonly kind: "reject";
      readonly owner: OwnerKey;
      readonly classKey: string;
      readonly count: number;
      readonly unschedulable?: { code: ErrorCode; message: string };
    }
  /** Ask the global scheduler; answered by placed(). */
  | {
      readonly kind: "askPlace";
      readonly owner: OwnerKey;
      readonly classKey: string;
      readonly shape: Shape;
      readonly count: number;
      readonly argBytesByNode: Readonly<Record<string, number>>;
    }
  /** The lease is over and its worker may serve others, unless it is `broken`. */
  | { readonly kind: "freeWorker"; readonly workerId: string; readonly broken: boolean; readonly detail: string };

/** What the global scheduler said; `undefined` = it could not be asked. */
export interface PlaceAnswer {
  readonly placements: readonly { readonly nodeId: string; readonly raylet: string; readonly count: number }[];
}

/** What waits, by shape and cause. */
export interface QueuedClass {
  readonly shape: Resources;
  readonly queued: number;
  readonly meanTaskMs: number;
  readonly cause: WaitCause;
  readonly detail: string;
  readonly sinceMs: number;
}
