// Why a lost object cannot be made again, in words for people (message, hint) and for programs (details.reason).
import { formatSize } from "@tray/common";
import type { ErrorInfo } from "@tray/protocol";
import { errorInfo } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { TaskEntry } from "./task-entry.js";

/** `details.reason` of OBJECT_RECONSTRUCTION_FAILED. */
export type Refusal =
  | "made by put"
  | "retries spent"
  | "lineage evicted"
  | "actor not restartable"
  | "made by an actor's stream"
  | "cancelled"
  | "switched off";

interface Refused {
  readonly reason: Refusal;
  /** Goes on after "cannot be made again: ". */
  readonly why: string;
  readonly hint?: string;
  readonly details?: Record<string, unknown>;
}

export const switchedOff: Refused = { reason: "switched off", why: "enableObjectReconstruction is off" };

export const madeByPut: Refused = {
  reason: "made by put",
  why: "it was made by put, which leaves no recipe",
  hint: "make it by a task, or keep its reference in a process whose node lives as long as it is needed",
};

export const ofActorStream: Refused = {
  reason: "made by an actor's stream",
  why: "it is an item of an actor's stream, and those are not made twice",
};

export function cancelled({ template }: TaskEntry): Refused {
  return { reason: "cancelled", why: `task ${template.options.name} was cancelled` };
}

export function retriesSpent({ template: { options }, attempt }: TaskEntry): Refused {
  const { name, maxRetries, actorId } = options;
  const setting = actorId === undefined ? "maxRetries" : "maxTaskRetries";
  const what = actorId === undefined ? `task ${name}` : `the actor's method ${name}`;
  return {
    reason: "retries spent",
    why:
      maxRetries === 0
        ? `${what} may not run twice (${setting} is 0)`
        : `${what} ran ${attempt + 1} times, as often as its ${setting} (${maxRetries}) allows`,
    hint: `${setting}: -1 lets it run again as often as its results are lost`,
    details: { task: name, attempts: attempt + 1 },
  };
}

export function lineageEvicted({ template }: TaskEntry, limitBytes: number): Refused {
  return {
    reason: "lineage evicted",
    why: `what is needed to run task ${template.options.name} again was evicted: a process keeps maxLineageBytes (${formatSize(limitBytes)}) of that, the latest`,
    hint: "raise maxLineageBytes (--system-config), or let go of results that are not needed",
    details: { task: template.options.name, maxLineageBytes: limitBytes },
  };
}

/** The actor that would have to make it again cannot, or not any more. */
export function actorFailed(error: ErrorInfo): Refused {
  return { reason: error.code === "ACTOR_DIED" ? "actor not restartable" : "retries spent", why: error.message };
}

/** `released`: its value was let go, and is needed again since what was made of it is lost. */
export function notMadeAgain(entry: ObjectEntry, released: boolean, { reason, why, hint, details }: Refused): ErrorInfo {
  const what = released
    ? `object ${entry.id} was released, is needed to make again what was made of it and is lost, and cannot be made again itself`
    : `object ${entry.id} is lost with every node that had a copy, and cannot be made again`;
  return errorInfo("OBJECT_RECONSTRUCTION_FAILED", `${what}: ${why}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { objectId: entry.id, reason, ...details },
  });
}

/** Of an item of a stream that is to be made again, and whose task may not begin again. */
export function spentError({ template, id }: TaskEntry): ErrorInfo {
  return errorInfo(
    "OBJECT_RECONSTRUCTION_FAILED",
    `an item of ${template.options.name} was lost with every node that had a copy, and cannot be made again: the retries of the task are spent`,
    { details: { taskId: id, reason: "retries spent" } },
  );
}
