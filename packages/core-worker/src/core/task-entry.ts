// A task as its submitter keeps it.
import { Ewma } from "@tray/common";
import { type Requirements, type TaskId, type TaskTemplate, taskIdOf } from "@tray/protocol";
import type { TemplateOptions } from "../thread/to-core.js";
import type { LeaseGroup } from "./lease/group.js";
import { ItemStream } from "./item-stream.js";
import type { ObjectEntry } from "./object-entry.js";

/** What all tasks of one remote function with one set of options share, with what was learned about them. */
export class Template {
  /** Measured run time, ms. */
  readonly meanMs = new Ewma(0.2);
  group: LeaseGroup | undefined;

  constructor(
    readonly id: number,
    readonly options: TemplateOptions,
    readonly wire: TaskTemplate,
    readonly requirements: Requirements,
  ) {}
}

/** Of a task that ended. none: it will not run again. kept: it would, for a lost result. evicted: it would have, and was let go for want of room. */
export type TaskLineage = "none" | "kept" | "evicted";

const noBytes = new Uint8Array(0);
const noEntries: readonly ObjectEntry[] = Object.freeze([]);

/**
 * waiting: for arguments. queued: for a lease (or the actor). pushed: with a worker. done: answered for good.
 * A done task is kept as lineage while one of its results may have to be made again.
 */
export type TaskState = "waiting" | "queued" | "pushed" | "done";

export class TaskEntry {
  state: TaskState = "waiting";
  attempt = 0;
  /** System failures that may still be retried; -1 = for ever. */
  retriesLeft: number;
  cancelled = false;
  /** Arguments not ready yet. */
  missing = 0;
  /** How often a later task left the queue while this was its first. */
  overtaken = 0;
  /** Since when it waits for a worker where its arguments lie, although others are idle; negative: it does not. */
  heldSinceMs = -1;
  returns: ObjectEntry[] = [];
  /** Streaming: its items; `returns` is then one, the end of the stream, which the consumer's handle stands for. */
  readonly stream: ItemStream | undefined;
  lineage: TaskLineage = "none";
  /** It runs again for a result that was lost. */
  remaking = false;
  /** Actor calls: position in this caller's order for the incarnation it was sent to. */
  sequence = -1;

  constructor(
    readonly template: Template,
    readonly number: number,
    public args: Uint8Array,
    /** Top-level reference arguments, in order. */
    public refs: readonly ObjectEntry[],
    /** References inside argument values. */
    public held: readonly ObjectEntry[],
    /** The execution in this process that submitted it; 0 = the driver's own code. */
    readonly parent: number,
  ) {
    this.retriesLeft = template.options.maxRetries;
    this.stream = template.options.streaming === true ? new ItemStream(template.options.backpressure ?? 0) : undefined;
  }

  get id(): TaskId {
    return taskIdOf(this.template.wire.taskPrefix, this.number);
  }

  /** It will not run again. Entries of its results may be here for long yet, and it with them. */
  dropArguments(): void {
    this.args = noBytes;
    this.refs = noEntries;
    this.held = noEntries;
  }
}
