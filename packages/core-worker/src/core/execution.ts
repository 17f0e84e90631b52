// An execution: a task, a call or an actor's constructor that this worker is to run, from arrival to its answer.
import type { Timer } from "@tray/common";
import { type BecomeActorReply, type ErrorInfo, type TaskDone, type TaskOutcome, type TaskPush, type TaskTemplate } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { Located } from "../thread/to-user.js";

export interface Execution {
  readonly id: number;
  readonly session: Session | undefined;
  readonly template: KnownTemplate | undefined;
  readonly push: TaskPush | undefined;
  readonly leaseId: string;
  located: readonly Located[];
  /** resolving: arguments or function on their way. ready: may be handed over. handed: with the user's thread. */
  state: "resolving" | "ready" | "handed";
  /** Slot of its claim, once handed. */
  claim: number;
  failed: ErrorInfo | undefined;
  becoming: ((reply: BecomeActorReply) => void) | undefined;
  /** The task's time limit, running. */
  limit?: Timer;
  stream: Outgoing | undefined;
  /** An argument has yet to be made, or to be made again. */
  lacking: boolean;
}

/** What is known here of a generator that runs. */
export interface Outgoing {
  /** Items yielded, those that an earlier attempt delivered included. */
  made: number;
  consumed: number;
  /** It waits for its consumer. */
  paused: boolean;
  /** An item could not be sent: the attempt is worth nothing from there on. */
  broken: ErrorInfo | undefined;
}

/** A template that a caller has introduced. */
export interface KnownTemplate {
  /** Under which the user's thread knows it. */
  readonly key: number;
  readonly wire: TaskTemplate;
  calls: number;
}

/** The answer to a task whose user code has not run, or does not count. */
export function unstarted(push: TaskPush, outcome: TaskOutcome, error?: ErrorInfo): TaskDone {
  return { number: push.number, attempt: push.attempt, outcome, returns: [], error, durationUs: 0, needsConfirmation: false, retryable: false };
}

/** Nobody takes what is said there, or confirms it. */
export const isOver = ({ state }: Session): boolean => state === "lost" || state === "closed";
