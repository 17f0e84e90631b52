// Submitter: the tasks that this process submitted, from submission to their last result, and their lineage.
//
// Owns:     task entries, dependency waiting, retries, results into the reference table, lease groups by scheduling class.
// Not mine: which worker gets what (lease/group.ts), actor queues (actor-caller.ts), sessions (SubmitterHost).
// Crosses:  in: submit, done, lost, cancel, missing. out: groups and actors get ready tasks; SubmitterHost.
//
// Invariants
//   U1. a task ends once: the first final answer counts, an answer of a stale attempt is dropped.
//   U2. arguments are held from submission until the end; then only for lineage, and only while a stored result may be lost.
//   U4. what was read of an object stays what it is: a task that runs again replaces what is lost, and nothing else that it returned.
//   U3. a system failure costs a retry only if the task may have started; tasks given back unstarted cost nothing.
import type { Logger } from "@tray/common";
import {
  type ErrorInfo,
  type NodeAddress,
  type ObjectLocations,
  type RefArg,
  type RefInfo,
  type StreamItem,
  type TaskDone,
  TaskOutcome,
  type TaskPush,
  type TaskReturn,
  type WorkerExit,
  indexOfObject,
  numberOfObject,
  taskOfObject,
} from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { cancelledError, errorInfo, workerCrashed } from "./failures.js";
import type { ItemStream, Taker } from "./item-stream.js";
import { Lineage } from "./lineage.js";
import { isIntact, mayBeLost, type ObjectEntry } from "./object-entry.js";
import {
  actorFailed,
  cancelled,
  lineageEvicted,
  madeByPut,
  notMadeAgain,
  ofActorStream,
  retriesSpent,
  spentError,
  switchedOff,
} from "./reconstruction.js";
import type { ReferenceTable } from "./reference-table.js";
import { itemCountOf, shorter, Streams, type StreamsHost } from "./streams.js";
import { TaskEntry, type Template } from "./task-entry.js";

export interface SubmitterHost extends StreamsHost {
  /** The task's owned arguments are there: hand it to its lease group. `first`: it was there before. */
  runnable(task: TaskEntry, first: boolean): void;
  /** An actor call takes its place in the caller's order, whether its arguments are there or not. `again`: sent before, goes by its number. */
  callEnqueued(task: TaskEntry, again: boolean): void;
  /** An actor call's arguments are there. */
  callReady(task: TaskEntry): void;
  /** Take a queued task back out of its lease group or actor queue. */
  withdraw(task: TaskEntry): void;
  /** Tell the worker that has it. */
  cancelPushed(task: TaskEntry, force: boolean, recursive: boolean): void;
  /** What a process that is gone may have passed on: keep it a while (docs/decisions/0009). */
  linger(entries: readonly ObjectEntry[]): void;
  self(): { workerId: string; nodeId: string; endpoint: string };
}

const inlineArgMax = 100 * 1024;
const nothing: readonly ObjectEntry[] = Object.freeze([]);

export class Submitter {
  readonly lineage: Lineage;
  private readonly streams: Streams;
  private readonly tasks = new Map<number, TaskEntry>();
  /** Lost objects are made again by running their tasks again. */
  reconstructs = true;
  /** Lost objects, pending already, of which nothing has been decided yet: they may need others, through any depth. */
  private readonly missed: { readonly entry: ObjectEntry; readonly released: boolean }[] = [];
  private isRemaking = false;

  constructor(
    private readonly references: ReferenceTable,
    private readonly logger: Logger,
    private readonly host: SubmitterHost,
  ) {
    this.streams = new Streams(references, host);
    this.lineage = new Lineage({ evict: (task) => this.evict(task) });
  }

  get pendingCount(): number {
    let count = 0;
    for (const task of this.tasks.values()) if (task.state !== "done") count++;
    return count;
  }
  get(number: number): TaskEntry | undefined {
    return this.tasks.get(number);
  }
  all(): IterableIterator<TaskEntry> {
    return this.tasks.values();
  }

  submit(
    template: Template,
    number: number,
    firstSlot: number,
    parent: number,
    args: Uint8Array,
    refs: readonly ObjectEntry[],
    held: readonly ObjectEntry[],
  ): TaskEntry {
    const task = new TaskEntry(template, number, args, refs.length === 0 ? nothing : refs, held.length === 0 ? nothing : held, parent);
    for (let i = 0; i < template.options.numReturns; i++) {
      const entry = this.references.ownReturn(task, i);
      task.returns.push(entry);
      this.references.bind(firstSlot + i, entry);
    }
    this.tasks.set(number, task);
    this.begin(task, false);
    return task;
  }

  /** What the worker at the other end of `session` needs to know of this attempt. Values that this process has are inlined. */
  toWire(task: TaskEntry, session: Session): TaskPush {
    return {
      number: task.number,
      templateId: task.template.id,
      attempt: task.attempt,
      args: task.args as Buffer,
      refs: task.refs.length === 0 ? [] : task.refs.map((entry) => this.refArg(entry)),
      sequence: task.sequence,
      incarnation: 0,
      stream: task.stream === undefined ? undefined : this.streams.begin(task, task.stream, session, this.reconstructs),
    };
  }

  refArg(entry: ObjectEntry): RefArg {
    const ref: RefInfo = { objectId: entry.id, owner: entry.owner ?? this.host.self() };
    const { state } = entry;
    if (state.kind === "value" && state.value.length <= inlineArgMax) return { ref, known: { $case: "value", value: state.value as Buffer } };
    if (state.kind === "stored") return { ref, known: { $case: "stored", value: { size: state.size, nodes: state.nodes } } };
    if (state.kind === "failed") return { ref, known: { $case: "error", value: state.error } };
    return { ref, known: undefined };
  }

  /** A worker's answer. Answers whether the returned references must be confirmed to it. */
  done(task: TaskEntry, done: TaskDone): void {
    if (task.state === "done" || done.attempt !== task.attempt) return; // U1
    switch (done.outcome) {
      case TaskOutcome.OK:
        if (task.stream === undefined) this.succeed(task, done);
        else this.streamed(task, task.stream, done);
        break;
      case TaskOutcome.UNSTARTED:
        if (task.cancelled || isUnwanted(task)) this.fail(task, cancelledError(task));
        else this.requeue(task); // U3
        break;
      case TaskOutcome.CANCELLED:
        // A stream was stopped for an item that it had passed and that was lost since: from the beginning.
        if (task.stream === undefined || task.cancelled || task.stream.wanted.size === 0) this.fail(task, cancelledError(task));
        else if (this.takeRetry(task)) this.retry(task);
        else this.fail(task, spentError(task));
        break;
      case TaskOutcome.ERROR:
        if ((task.template.options.retryExceptions || done.retryable) && this.takeRetry(task)) this.retry(task);
        else this.fail(task, done.error ?? errorInfo("SYSTEM", "the worker reported an error without saying which"));
        break;
      case TaskOutcome.SYSTEM_ERROR:
        if (this.takeRetry(task)) this.retry(task);
        else this.fail(task, done.error ?? errorInfo("SYSTEM", `task ${task.template.options.name} could not be run`));
        break;
    }
  }

  /** An item of a streaming task. */
  itemMade(task: TaskEntry, item: StreamItem): void {
    if (task.stream !== undefined) this.streams.made(task, task.stream, item, task.state === "pushed" && item.attempt === task.attempt); // U1
  }
  /** A copy of an item that an attempt made and did not tell of. True: its stream may make that item yet, and sees to the copy. */
  isComing(objectId: string, node: NodeAddress): boolean {
    const task = this.tasks.get(numberOfObject(objectId));
    if (task?.stream === undefined || task.state === "done" || taskOfObject(objectId) !== task.id) return false;
    return task.stream.stray(indexOfObject(objectId), node);
  }
  /** Answers how to stop waiting for the next item. */
  takeItem(task: TaskEntry, stream: ItemStream, taker: Taker): () => void {
    return this.streams.take(task, stream, taker);
  }
  /** Nobody will take any more items: the task is cancelled, except for what it makes again for the sake of references that are left. */
  streamDropped(task: TaskEntry, stream: ItemStream): void {
    if (stream.dropped) return;
    this.streams.dropped(stream);
    // Not what its generator submitted: references to that may be in items which were taken.
    if (task.state === "pushed" && stream.until === 0) this.host.cancelPushed(task, false, false);
    else if (task.state !== "pushed" && task.state !== "done" && isUnwanted(task)) {
      this.host.withdraw(task);
      this.fail(task, cancelledError(task));
    }
  }

  /** The worker that had it is gone. `exit`: how, when known. */
  lost(task: TaskEntry, exit: WorkerExit): void {
    if (task.state === "done") return;
    if (exit.reason === "intended" && exit.exitCode === 0 && !task.cancelled) {
      this.requeue(task); // U3: it had answered all that it began
      return;
    }
    this.abandoned(task);
    if (task.cancelled || isUnwanted(task)) this.fail(task, cancelledError(task));
    else if (this.takeRetry(task)) this.retry(task);
    else this.fail(task, workerCrashed(task.template.options.name, exit, task.attempt + 1));
  }

  /** The process that has it is gone, or out of reach, and will not say what it keeps of the arguments. */
  abandoned(task: TaskEntry): void {
    if (task.state === "pushed") this.host.linger([...task.refs, ...task.held]);
  }

  /** Back to its place, no attempt spent. */
  requeue(task: TaskEntry): void {
    task.state = "queued";
    if (task.template.options.actorId === undefined) this.host.runnable(task, true);
    else this.host.callEnqueued(task, true);
  }

  fail(task: TaskEntry, error: ErrorInfo): void {
    if (task.state === "done") return;
    task.state = "done";
    const ofActor = task.remaking && (error.code === "ACTOR_DIED" || error.code === "ACTOR_UNAVAILABLE");
    for (const entry of task.returns) {
      if (entry.state.kind !== "pending") continue;
      this.references.resolve(entry, { kind: "failed", error: ofActor ? notMadeAgain(entry, false, actorFailed(error)) : error });
    }
    if (task.stream !== undefined) this.streams.ended(task, task.stream, { error });
    this.end(task);
  }

  cancel(task: TaskEntry, force: boolean, recursive: boolean): void {
    if (task.state === "done" || task.cancelled) {
      if (task.state === "pushed" && force) this.host.cancelPushed(task, true, recursive);
      return;
    }
    task.cancelled = true;
    if (task.state === "pushed") {
      this.host.cancelPushed(task, force, recursive);
      return;
    }
    this.host.withdraw(task);
    this.fail(task, cancelledError(task));
  }

  /** Copies of a stored result are gone. With no copy left the producing task runs again, if it can. */
  missing(entry: ObjectEntry, nodeIds: readonly string[]): void {
    const { state } = entry;
    if (state.kind !== "stored") return;
    const left = state.nodes.filter((n) => !nodeIds.includes(n.nodeId));
    const known = entry.strays ?? [];
    entry.strays = [...known, ...state.nodes.filter((n) => nodeIds.includes(n.nodeId) && !known.some((k) => k.nodeId === n.nodeId))];
    if (left.length > 0) {
      entry.state = { kind: "stored", size: state.size, nodes: left };
      return;
    }
    this.references.unresolve(entry);
    this.reconstruct(entry);
  }

  /** Makes a lost object pending again and its task run again, with whatever of its arguments is gone as well. */
  reconstruct(entry: ObjectEntry): void {
    if (entry.isHandle) return; // it stands for an actor, which ended with its last handle
    const released = entry.state.kind === "freed";
    if (released) this.references.unresolve(entry);
    this.missed.push({ entry, released });
    if (this.isRemaking) return;
    this.isRemaking = true;
    try {
      for (let next = this.missed.pop(); next !== undefined; next = this.missed.pop()) this.remake(next.entry, next.released);
    } finally {
      this.isRemaking = false;
    }
  }

  private remake(entry: ObjectEntry, released: boolean): void {
    const { task } = entry;
    const refuse = (why: Parameters<typeof notMadeAgain>[2]): void => {
      task?.stream?.found(entry.index);
      this.references.resolve(entry, { kind: "failed", error: notMadeAgain(entry, released, why) });
    };
    if (!this.reconstructs) return refuse(switchedOff);
    if (task === undefined) return refuse(madeByPut);
    if (task.state !== "done" && (task.stream === undefined || entry.index === 0)) return; // already under way
    if (task.template.options.actorId !== undefined && task.stream !== undefined) return refuse(ofActorStream);
    const passed = task.stream?.want(entry.index) === true;
    if (task.state !== "done") {
      // Its consumer may wait for this very item, and it for its consumer: it begins again now.
      if (passed && task.state === "pushed") this.host.cancelPushed(task, false, false);
      return;
    }
    if (task.cancelled) return refuse(cancelled(task));
    if (task.lineage === "evicted") return refuse(lineageEvicted(task, this.lineage.limitBytes));
    if (task.lineage === "none" || !this.takeRetry(task)) return refuse(retriesSpent(task));
    this.logger.info("running a task again for a lost object", { task: task.template.options.name, objectId: entry.id });
    task.lineage = "none";
    task.remaking = true;
    this.lineage.drop(task);
    const inputs = [...task.refs, ...task.held];
    for (const input of inputs) {
      this.references.use(input);
      this.references.unneedForLineage(input);
    }
    task.state = "waiting";
    task.attempt++;
    for (const input of inputs) if (input.owner === undefined && input.state.kind === "freed") this.reconstruct(input);
    this.begin(task, true);
  }

  /** No result of the task can be asked for any more. */
  forget(task: TaskEntry): void {
    if (task.lineage !== "kept") return; // it ends just now, with nobody waiting for its results
    this.lineage.drop(task);
    this.letGo(task, "none");
  }

  /** Its results may be lost and asked for, but what would make them again takes too much room. */
  private evict(task: TaskEntry): void {
    if (this.lineage.evicted === 1)
      this.logger.warn("lineage is evicted: results of the oldest tasks could not be made again if they were lost", {
        maxLineageBytes: this.lineage.limitBytes,
      });
    this.letGo(task, "evicted");
  }

  private letGo(task: TaskEntry, lineage: "none" | "evicted"): void {
    task.lineage = lineage;
    this.tasks.delete(task.number);
    const inputs = [...task.refs, ...task.held];
    task.dropArguments();
    for (const input of inputs) this.references.unneedForLineage(input);
  }

  private begin(task: TaskEntry, again: boolean): void {
    if (!again) {
      for (const entry of task.refs) this.references.use(entry); // U2
      for (const entry of task.held) this.references.use(entry);
    }
    if (task.template.options.actorId !== undefined) this.host.callEnqueued(task, again);
    task.missing = 0;
    for (const entry of task.refs) {
      // Every node that had it is dead: made again before the task takes a worker, which would only wait for it.
      if (entry.owner === undefined && entry.state.kind === "stored" && entry.state.nodes.length === 0) this.missing(entry, []);
      if (entry.owner !== undefined || entry.ready) continue;
      task.missing++;
      this.references.whenReady(entry, () => {
        if (--task.missing === 0 && task.state === "waiting") this.argumentsReady(task);
      });
    }
    if (task.missing === 0) this.argumentsReady(task);
  }

  private argumentsReady(task: TaskEntry): void {
    const failed = task.refs.find((entry) => entry.state.kind === "failed");
    if (failed !== undefined && failed.state.kind === "failed") {
      if (task.template.options.actorId !== undefined) this.host.withdraw(task);
      this.fail(task, failed.state.error);
      return;
    }
    task.state = "queued";
    if (task.template.options.actorId === undefined) this.host.runnable(task, false);
    else this.host.callReady(task);
  }

  private succeed(task: TaskEntry, done: TaskDone): void {
    task.state = "done";
    for (let i = 0; i < task.returns.length; i++) {
      const entry = task.returns[i] as ObjectEntry;
      const result = done.returns[i];
      if (isIntact(entry)) {
        this.discardTwin(entry, result?.where); // U4
        continue;
      }
      if (result === undefined) {
        this.references.resolve(entry, {
          kind: "failed",
          error: errorInfo(
            "SYSTEM",
            `task ${task.template.options.name} returned ${done.returns.length} values, ${task.returns.length} were expected`,
          ),
        });
        continue;
      }
      const contained = result.contained.length === 0 ? undefined : this.host.adoptContained(result.contained);
      const { where } = result;
      if (where?.$case === "stored") {
        this.references.resolve(entry, { kind: "stored", size: where.value.size, nodes: [...(where.value as ObjectLocations).nodes] }, contained);
      } else this.references.resolve(entry, { kind: "value", value: where?.value ?? Buffer.alloc(0) }, contained);
    }
    this.end(task);
  }

  /** A stream's generator returned. */
  private streamed(task: TaskEntry, stream: ItemStream, done: TaskDone): void {
    const count = itemCountOf(done.returns);
    if (stream.wanted.size > 0) {
      // Lost since this attempt made them, or passed by it.
      this.streams.failWanted(stream, (index) => index > count, shorter(task, count, stream.delivered));
      if (stream.wanted.size > 0 && this.takeRetry(task)) {
        this.retry(task);
        return;
      }
      this.streams.failWanted(stream, () => true, spentError(task));
    }
    task.state = "done";
    for (const entry of task.returns) if (entry.state.kind === "pending") this.references.resolve(entry, { kind: "value", value: Buffer.alloc(0) });
    this.streams.ended(task, stream, { count });
    this.end(task);
  }

  /** What a task made again of an object that was not lost. */
  private discardTwin({ id, state }: ObjectEntry, where: TaskReturn["where"]): void {
    if (where?.$case !== "stored") return;
    const mine = state.kind === "stored" ? state.nodes : [];
    for (const node of where.value.nodes) if (!mine.some((n) => n.nodeId === node.nodeId)) this.host.discard(id, node);
  }

  private end(task: TaskEntry): void {
    task.remaking = false;
    const { refs, held } = task;
    const keep = this.isWorthKeeping(task);
    if (keep) {
      task.lineage = "kept";
      for (const input of refs) this.references.needForLineage(input);
      for (const input of held) this.references.needForLineage(input);
    } else {
      this.tasks.delete(task.number);
      task.dropArguments();
    }
    for (const input of refs) this.references.unuse(input);
    for (const input of held) this.references.unuse(input);
    if (keep && task.lineage === "kept") this.lineage.keep(task); // last: values that only lineage keeps from now on count
  }

  /** Some result may be lost, and then it could and would run again. */
  private isWorthKeeping(task: TaskEntry): boolean {
    const mayRun = this.reconstructs && task.retriesLeft !== 0 && !task.cancelled;
    if (!mayRun || (task.template.options.actorId !== undefined && task.stream !== undefined)) return false;
    if (task.returns.some(mayBeLost)) return true;
    if (task.stream !== undefined) for (const item of task.stream.live) if (mayBeLost(item)) return true;
    return false;
  }

  /** Takes one retry from the task's budget. False when there is none, or it was cancelled. */
  takeRetry(task: TaskEntry): boolean {
    if (task.cancelled || task.retriesLeft === 0 || isUnwanted(task)) return false;
    if (task.retriesLeft > 0) task.retriesLeft--;
    return true;
  }

  retry(task: TaskEntry): void {
    task.attempt++;
    task.state = "waiting";
    this.begin(task, true);
  }
}

/** A stream whose consumer is gone, and none of whose items is to be made again. */
const isUnwanted = ({ stream }: TaskEntry): boolean => stream !== undefined && stream.dropped && stream.wanted.size === 0;
