// Executor: tasks and actor calls that others pushed to this worker, from arrival to their answer.
//
// Owns:     executions (queued, handed over, running), exec templates.
// Not mine: functions and arguments (dependencies.ts), items of streams (outgoing-streams.ts), whether they wait (blocked-lease.ts), answers on their way
//           (answers.ts), returned references until they are confirmed (handovers.ts), running user code (the user's thread).
// Crosses:  in: pushTasks, stealTasks, cancelTask, confirmReturns, becomeActor; finished from the user's thread. out: ToUser, Answers.
//
// Invariants
//   E1. every pushed task is answered exactly once, unless its caller is gone.
//   E2. tasks are handed over in order of arrival, arguments ready; calls of one caller to an actor in that caller's order, without exception.
//   E3. a task handed over may be taken back only by winning its claim against the user's thread (thread/claims.ts).
import { type Clock, Deque, type Logger } from "@tray/common";
import {
  type ActorSpec,
  type Address,
  type BecomeActorReply,
  type CancelTask,
  type GetFunctionReply,
  type NodeAddress,
  type PushTasks,
  type RefArg,
  type RefInfo,
  type StealTasks,
  type TaskDone,
  TaskOutcome,
  type TaskPush,
  type TaskReturn,
  type TaskTemplate,
} from "@tray/protocol";
import type { Session } from "@tray/rpc";
import { isClaimWon, openClaim, winClaim } from "../thread/claims.js";
import { outcomes, type ReturnValue } from "../thread/to-core.js";
import type { ExecTemplate, Located, ToUser } from "../thread/to-user.js";
import { type AnsweringWorker, Answers } from "./answers.js";
import { BlockedLease, blockedAfterMs } from "./blocked-lease.js";
import { Dependencies } from "./dependencies.js";
import { errorInfo, errorInfoOf } from "./failures.js";
import { type Execution, isOver, type KnownTemplate, unstarted } from "./execution.js";
import type { Handovers } from "./handovers.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import { OutgoingStreams, outgoing } from "./outgoing-streams.js";
import type { ReferenceTable } from "./reference-table.js";
import type { Registrar } from "./registrar.js";

/** So many executions are handed over at once; fewer than there are claims. */
const handedMax = 1024;

export interface ExecutorHost {
  getFunction(jobId: string, functionId: string): Promise<GetFunctionReply>;
  blocked(leaseId: string, blocked: boolean): void;
  activity(taskName: string): void;
  node(): NodeAddress;
  self(): { workerId: string; nodeId: string; endpoint: string };
  cancelChildren(execId: number): void;
  /** Ends this process at once, whatever the user's thread does. */
  killSelf(reason: string): void;
  /** Ends this process when what runs has ended. */
  exitWhenDone(reason: string): void;
  /** The worker belongs to this job from now on. */
  joinJob(job: { jobId: string; namespace: string; workingDir: string }): void;
  slotEntry(slot: number): ObjectEntry;
}

/** For the last answers to leave before the process is killed. */
const killAfterMs = 10;
const noLocated: readonly Located[] = Object.freeze([]);
const templatesKey = Symbol("templates");

export class Executor implements AnsweringWorker {
  private readonly queue = new Deque<Execution>();
  private readonly callers = new Map<Session, Deque<Execution>>();
  private readonly executions = new Map<number, Execution>();
  private readonly dependencies: Dependencies;
  readonly lease: BlockedLease;
  readonly streams: OutgoingStreams;
  readonly answers: Answers;
  private handed = 0;
  private lastId = 0;
  private lastTemplateKey = 0;
  /** This worker takes nothing more. */
  isExiting = false;
  private actor: ActorSpec | undefined;
  private became: { readonly key: string; readonly reply: Promise<BecomeActorReply> } | undefined;

  constructor(
    private readonly user: ToUser,
    private readonly claims: Int32Array,
    references: ReferenceTable,
    fetcher: ObjectFetcher,
    registrar: Registrar,
    private readonly handovers: Handovers,
    private readonly clock: Clock,
    logger: Logger,
    private readonly host: ExecutorHost,
  ) {
    this.dependencies = new Dependencies(user, references, fetcher, {
      getFunction: (jobId, functionId) => host.getFunction(jobId, functionId),
      self: () => host.self(),
      absent: (execution, entries) => this.argumentsAbsent(execution, entries),
    });
    this.lease = new BlockedLease(clock, {
      blocked: (leaseId, blocked) => host.blocked(leaseId, blocked),
      handed: () => this.handed,
      giveBackAll: () => this.giveBack(() => true),
    });
    this.streams = new OutgoingStreams(this.executions, user, handovers, this.lease, (value, held) => this.returnOf(value, held));
    this.answers = new Answers(registrar, clock, logger, this);
  }

  /** Tasks here that have not been answered. */
  get pending(): number {
    return this.executions.size;
  }
  get isActor(): boolean {
    return this.actor !== undefined;
  }

  push(session: Session, message: PushTasks): void {
    const templates = this.templatesOf(session);
    for (const wire of message.templates) templates.set(wire.templateId, this.introduce(wire));
    this.lease.servesTasks(message.leaseId);
    for (const push of message.tasks) {
      const template = templates.get(push.templateId);
      if (template === undefined) {
        this.answers.add(session, unstarted(push, TaskOutcome.SYSTEM_ERROR, errorInfo("SYSTEM", "a task came before its template")));
        continue;
      }
      // Behind a task that waits it would wait, too, perhaps for itself.
      if (this.isExiting || this.isBlocked) {
        this.answers.add(session, unstarted(push, TaskOutcome.UNSTARTED));
        continue;
      }
      const execution: Execution = {
        id: ++this.lastId,
        session,
        template,
        push,
        leaseId: message.leaseId,
        located: noLocated,
        state: "resolving",
        claim: 0,
        failed: undefined,
        becoming: undefined,
        lacking: false,
        stream: template.wire.streaming ? outgoing(push) : undefined,
      };
      this.executions.set(execution.id, execution);
      this.lineOf(execution).push(execution);
      const { functionId, jobId, retryClassesId } = template.wire;
      const ready = this.dependencies.isLoaded(functionId) && this.dependencies.isLoaded(retryClassesId);
      if (ready && push.refs.length === 0) execution.state = "ready";
      else void this.prepare(execution, jobId, [functionId, retryClassesId], push.refs);
    }
    this.handOver();
  }

  /** Becomes an actor; resolves when its constructor has ended. Asked again, since the reply was lost, it answers the same and constructs nothing. */
  becomeActor(spec: ActorSpec, incarnation: number): Promise<BecomeActorReply> {
    const key = `${spec.actorId}:${incarnation}`;
    if (this.became?.key !== key) this.became = { key, reply: this.construct(spec, incarnation) };
    return this.became.reply;
  }

  private construct(spec: ActorSpec, incarnation: number): Promise<BecomeActorReply> {
    this.actor = spec;
    this.lease.servesConstruction();
    this.host.joinJob({ jobId: spec.jobId, namespace: spec.namespace, workingDir: spec.workingDir });
    this.host.activity(spec.className);
    return new Promise((resolve) => {
      const execution: Execution = {
        id: ++this.lastId,
        session: undefined,
        template: undefined,
        push: undefined,
        leaseId: "",
        located: noLocated,
        state: "resolving",
        claim: 0,
        failed: undefined,
        becoming: resolve,
        lacking: false,
        stream: undefined,
      };
      this.executions.set(execution.id, execution);
      void this.prepare(execution, spec.jobId, [spec.functionId], spec.refs).then(() => {
        this.lease.servesActor();
        if (execution.failed !== undefined) {
          this.executions.delete(execution.id);
          resolve({ error: execution.failed });
          return;
        }
        execution.state = "handed";
        this.handed++;
        this.user.becomeActor(
          execution.id,
          {
            actorId: spec.actorId,
            jobId: spec.jobId,
            namespace: spec.namespace,
            name: spec.name,
            className: spec.className,
            functionId: spec.functionId,
            maxConcurrency: Math.max(1, spec.maxConcurrency),
            concurrencyGroups: spec.concurrencyGroups,
            incarnation,
            resources: spec.lifetimeResources?.amounts ?? {},
            workingDir: spec.workingDir,
          },
          spec.args,
          execution.located,
        );
      });
    });
  }

  finished(execId: number, outcome: number, durationUs: number, returns: readonly ReturnValue[], error: Uint8Array, errorMessage: string): void {
    const execution = this.executions.get(execId);
    if (execution === undefined) return;
    this.executions.delete(execId);
    this.handed--;
    execution.limit?.cancel();
    const { session, push, template, stream } = execution;
    if (stream !== undefined) this.streams.ended(stream);
    if (execution.becoming !== undefined) {
      const failed = outcome === outcomes.error ? errorInfo("TASK_ERROR", errorMessage, { cause: error as Buffer }) : undefined;
      const { becoming } = execution;
      this.answers.whenSettled(() => becoming({ error: failed }));
      return;
    }
    if (session === undefined || push === undefined || template === undefined) return;
    const done: TaskDone = {
      number: push.number,
      attempt: push.attempt,
      outcome:
        outcome === outcomes.ok || outcome === outcomes.exitActor
          ? TaskOutcome.OK
          : outcome === outcomes.cancelled
            ? TaskOutcome.CANCELLED
            : TaskOutcome.ERROR,
      returns: [],
      error: undefined,
      durationUs,
      needsConfirmation: false,
      retryable: outcome === outcomes.retryableError,
    };
    if (stream?.broken !== undefined) {
      done.outcome = TaskOutcome.SYSTEM_ERROR;
      done.error = stream.broken;
    } else if (done.outcome === TaskOutcome.ERROR) done.error = errorInfo("TASK_ERROR", errorMessage, { cause: error as Buffer });
    const held: ObjectEntry[] = [];
    for (let i = 0; i < returns.length; i++) done.returns.push(this.returnOf(returns[i] as ReturnValue, held));
    if (held.length > 0 && !isOver(session)) {
      done.needsConfirmation = true;
      this.handovers.hold(session, push.number, held);
    }
    template.calls++;
    const leaving = outcome === outcomes.exitActor || (template.wire.maxCalls > 0 && template.calls >= template.wire.maxCalls);
    this.answers.addSettled(session, done);
    if (leaving) this.beginExit(outcome === outcomes.exitActor ? "the actor exited on purpose" : `ran ${template.calls} calls (maxCalls)`);
    this.handOver();
  }

  /** The execution has not been answered. */
  runs(execId: number): boolean {
    return this.executions.has(execId);
  }

  steal(session: Session, message: StealTasks): void {
    const wanted = message.numbers.length === 0 ? undefined : new Set(message.numbers);
    const spared = this.nextToBegin();
    this.giveBack((e) => e !== spared && e.session === session && (wanted === undefined || wanted.has((e.push as TaskPush).number)));
    // An answer in any case, so that the thief knows that the attempt is over: an empty one.
    this.answers.acknowledge(session);
  }

  /** What nothing runs before: it is here, elsewhere it would have to be brought. Tasks run in another order than they came when arguments are late. */
  private nextToBegin(): Execution | undefined {
    let next: Execution | undefined;
    for (const execution of this.executions.values()) {
      if (execution.state === "handed" && isClaimWon(this.claims, execution.claim, execution.id)) return undefined;
      if (next === undefined || (next.state !== "handed" && execution.state === "handed")) next = execution;
    }
    return next;
  }

  cancel(session: Session, message: CancelTask): void {
    for (const execution of this.executions.values()) {
      if (execution.session !== session || execution.push?.number !== message.number) continue;
      if (message.recursive) this.host.cancelChildren(execution.id);
      if (this.takeBack(execution)) {
        this.answers.add(session, unstarted(execution.push, TaskOutcome.CANCELLED));
        this.handOver();
      } else if (message.force && this.actor === undefined) {
        this.dying(); // only this task pays
        this.clock.after(killAfterMs, () => this.host.killSelf("cancelled with force"));
      } else this.user.cancelExec(execution.id);
      return;
    }
  }

  confirm(session: Session, numbers: readonly number[]): void {
    for (const number of numbers) this.handovers.confirmed(session, number);
  }

  /** The caller is gone: what it has queued here is dropped; nobody would take the answer. */
  private callerLost(session: Session, inOrder: boolean): void {
    this.answers.lost(session, inOrder);
    for (const execution of [...this.executions.values()]) if (execution.session === session) this.takeBack(execution);
    this.streams.callerLost(session);
    this.callers.delete(session);
    this.handovers.lost(session);
    this.handOver();
  }

  /** What is pushed to it now would wait behind what waits. */
  get isBlocked(): boolean {
    return this.lease.isBlocked;
  }
  private lacks(execution: Execution, lacking: boolean): void {
    if (execution.lacking === lacking) return;
    execution.lacking = lacking;
    if (lacking) this.lease.lackingBegin();
    else this.lease.lackingEnd();
  }

  /** The process is about to end (process.exit in user code): what has not begun goes back, answers leave now. */
  dying(): void {
    this.isExiting = true;
    this.giveBack(() => true);
    this.answers.send();
  }

  /** This worker ends on purpose: what it will not start goes back. */
  private beginExit(reason: string): void {
    if (this.isExiting) return;
    this.isExiting = true;
    this.giveBack(() => true);
    this.answers.schedule();
    this.host.exitWhenDone(reason);
  }

  /** Who will own what an execution returns. */
  callerOf(execId: number): Address | undefined {
    return this.executions.get(execId)?.template?.wire.caller;
  }

  private async prepare(execution: Execution, jobId: string, functionIds: readonly string[], refs: readonly RefArg[]): Promise<void> {
    try {
      const located = await this.dependencies.resolve(execution, jobId, functionIds, refs);
      const failed = located.find((l) => l.kind === "failed");
      if (failed !== undefined && failed.kind === "failed") {
        execution.failed = { ...failed.failure, cause: failed.failure.cause as Buffer };
        this.dependencies.unpin({ located });
      } else execution.located = located;
    } catch (error) {
      execution.failed = errorInfoOf(error);
    }
    this.lacks(execution, false);
    if (execution.state === "resolving") execution.state = "ready";
    if (!this.executions.has(execution.id)) this.dependencies.unpin(execution); // given back meanwhile
    this.handOver();
  }

  private argumentsAbsent(execution: Execution, entries: readonly ObjectEntry[]): void {
    this.clock.after(blockedAfterMs, () => {
      if (entries.every((entry) => entry.ready) || execution.state !== "resolving" || !this.executions.has(execution.id)) return;
      this.lacks(execution, true);
      this.lease.consider();
    });
  }

  /**
   * The node's store is full of what is pinned: arguments of what does not run yet are let go of, and fetched again in their turn. Otherwise those of
   * later calls could hold the room that the next one's need.
   */
  letGo(): void {
    for (const execution of this.executions.values()) {
      const { push, template, state } = execution;
      if (state !== "ready" || push === undefined || template === undefined || !this.dependencies.unpin(execution)) continue;
      execution.located = noLocated;
      execution.state = "resolving";
      void this.prepare(execution, template.wire.jobId, [], push.refs);
    }
  }

  private introduce(wire: TaskTemplate): KnownTemplate {
    const key = ++this.lastTemplateKey;
    if (wire.actorId === "") {
      this.host.joinJob({ jobId: wire.jobId, namespace: wire.namespace, workingDir: wire.workingDir });
      this.host.activity(wire.name);
    }
    const template: ExecTemplate = {
      jobId: wire.jobId,
      namespace: wire.namespace,
      functionId: wire.functionId,
      name: wire.name,
      numReturns: wire.numReturns,
      taskPrefix: wire.taskPrefix,
      actorId: wire.actorId,
      method: wire.method,
      concurrencyGroup: wire.concurrencyGroup,
      retryClassesId: wire.retryClassesId,
      callerWorkerId: wire.caller?.workerId ?? "",
      resources: wire.requirements?.resources?.amounts ?? {},
      workingDir: wire.workingDir,
      streaming: wire.streaming,
      backpressure: wire.backpressure,
    };
    this.user.execTemplate(key, template);
    return { key, wire, calls: 0 };
  }

  private templatesOf(session: Session): Map<number, KnownTemplate> {
    let templates = session.local.get(templatesKey) as Map<number, KnownTemplate> | undefined;
    if (templates === undefined) {
      templates = new Map();
      session.local.set(templatesKey, templates);
      this.answers.joined(session);
      session.onLost((error) => this.callerLost(session, error.details?.["goodbye"] === true));
    }
    return templates;
  }

  private lineOf(execution: Execution): Deque<Execution> {
    if (this.actor === undefined) return this.queue;
    const session = execution.session as Session;
    let line = this.callers.get(session);
    if (line === undefined) {
      line = new Deque();
      this.callers.set(session, line);
    }
    return line;
  }

  private handOver(): void {
    this.handReady();
    this.lease.consider();
  }

  private handReady(): void {
    if (this.actor === undefined) {
      // Ready ones in order; one that still waits for arguments lets others pass.
      const passed: Execution[] = [];
      while (this.handed < handedMax) {
        const next = this.queue.shift();
        if (next === undefined) break;
        if (next.state === "ready") this.hand(next);
        else passed.push(next);
      }
      for (let i = passed.length - 1; i >= 0; i--) this.queue.unshift(passed[i] as Execution);
      return;
    }
    for (const line of this.callers.values()) {
      for (let head = line.peek(); head !== undefined && head.state === "ready" && this.handed < handedMax; head = line.peek()) {
        line.shift();
        this.hand(head); // E2
      }
    }
  }

  private hand(execution: Execution): void {
    const { id, push, template, session } = execution;
    if (push === undefined || template === undefined || session === undefined) return;
    if (execution.failed !== undefined) {
      this.executions.delete(id);
      const outcome =
        execution.failed.code === "TASK_ERROR" || execution.failed.code.startsWith("OBJECT") ? TaskOutcome.ERROR : TaskOutcome.SYSTEM_ERROR;
      this.answers.add(session, unstarted(push, outcome, execution.failed));
      return;
    }
    execution.state = "handed";
    this.handed++;
    const claim = openClaim(this.claims, id);
    execution.claim = claim;
    const { stream } = execution;
    if (stream !== undefined && push.stream !== undefined && push.stream.delivered > 0) {
      this.user.resumeStream(id, { ...push.stream, consumed: stream.consumed });
    }
    this.user.execute(id, claim, template.key, push.number, push.attempt, push.args, execution.located);
    if (template.wire.timeoutMs > 0) this.limitTime(execution, session, push, template);
  }

  /** Ends the attempt, and the process with it, when the task takes too long: its code may never give the thread back. */
  private limitTime(execution: Execution, session: Session, push: TaskPush, template: KnownTemplate): void {
    const { timeoutMs, name } = template.wire;
    execution.limit = this.clock.after(timeoutMs, () => {
      if (!this.executions.delete(execution.id)) return;
      this.handed--;
      if (execution.stream !== undefined) this.streams.ended(execution.stream);
      const error = errorInfo(
        "TASK_TIMEOUT",
        `task ${name} (attempt ${push.attempt}) took longer than its timeout of ${timeoutMs} ms and was ended with its worker`,
        {
          details: { timeoutMs, attempt: push.attempt },
        },
      );
      this.answers.add(session, unstarted(push, TaskOutcome.SYSTEM_ERROR, error));
      this.dying();
      this.clock.after(killAfterMs, () => this.host.killSelf(`task ${name} took longer than ${timeoutMs} ms`));
    });
  }

  /** Removes an execution that has not begun. False when it runs. */
  private takeBack(execution: Execution): boolean {
    if (execution.push === undefined) return false;
    if (execution.state === "handed") {
      if (!winClaim(this.claims, execution.claim, execution.id)) return false; // E3
      this.handed--;
    } else (this.actor === undefined ? this.queue : this.callers.get(execution.session as Session))?.removeFirst((e) => e === execution);
    // At once: the user's thread may come to it only after a task that waits for this very room.
    this.dependencies.unpin(execution);
    this.executions.delete(execution.id);
    this.lacks(execution, false);
    return true;
  }

  private giveBack(which: (execution: Execution) => boolean): void {
    for (const execution of [...this.executions.values()].reverse()) {
      if (execution.push === undefined || execution.session === undefined || !which(execution)) continue;
      if (this.takeBack(execution)) this.answers.add(execution.session, unstarted(execution.push, TaskOutcome.UNSTARTED));
    }
  }

  private returnOf(value: ReturnValue, held: ObjectEntry[]): TaskReturn {
    const contained: RefInfo[] = [];
    for (const slot of value.contained) {
      const entry = this.host.slotEntry(slot);
      held.push(entry);
      contained.push({ objectId: entry.id, owner: entry.owner ?? this.host.self() });
    }
    if (value.value !== undefined) return { where: { $case: "value", value: value.value as Buffer }, contained };
    return { where: { $case: "stored", value: { size: value.size, nodes: [this.host.node()] } }, contained };
  }
}
