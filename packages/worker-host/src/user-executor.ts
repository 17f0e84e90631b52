// UserExecutor: runs user code on the user's thread of a worker: tasks one at a time, or one actor.
//
// Owns:     the run queue, what runs now, functions and templates by id, the actor instance.
// Not mine: arguments and results elsewhere (the core thread's), values (Codec).
// Crosses:  in: loadFunction, execTemplate, execute, becomeActor, cancelExec of ToUser. out: ToCore.finished.
//
// Invariants
//   X1. an execution is begun only by winning its claim; one that was taken back gives its pins back and says nothing.
//   X2. every execution begun is finished exactly once, whatever the user's code does, short of ending the process.
//   X3. plain tasks run one at a time; an actor runs at most maxConcurrency calls (per group: the group's number), begun in order of arrival.
import { AsyncLocalStorage } from "node:async_hooks";
import { Deque, type Timer } from "@tray/common";
import {
  claimStates,
  type ExecActor,
  type ExecTemplate,
  ExitActorSignal,
  type Located,
  outcomes,
  publicError,
  rememberFunction,
  refusalOf,
  type ReturnValue,
  type Runtime,
  type StreamResume,
} from "@tray/core-worker";
import { objectIdOf, taskIdOf } from "@tray/protocol";
import { flatten } from "@tray/serialization";
import { inspect } from "node:util";
import { Streaming } from "./streaming.js";

/** The task or call whose code runs. */
export interface TaskContext {
  readonly execId: number;
  readonly taskId: string;
  readonly taskName: string;
  readonly actorId: string | undefined;
  readonly attemptNumber: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
}

interface Execution {
  readonly execId: number;
  readonly claim: number;
  readonly template: ExecTemplate;
  readonly number: number;
  readonly attempt: number;
  readonly args: Uint8Array;
  readonly refs: readonly Located[];
}

/** An execution that was begun. What few tasks ask for (id, signal) is made when they do. */
class Running implements TaskContext {
  finished = false;
  /** The generator that it runs. */
  streaming: Streaming | undefined;
  /** Ends it when its generator does not return though it is cancelled. */
  patience: Timer | undefined;
  private abortController: AbortController | undefined;

  constructor(
    readonly execId: number,
    readonly template: ExecTemplate | undefined,
    readonly number: number,
    readonly attemptNumber: number,
    private readonly actorResources: Readonly<Record<string, number>> | undefined,
    readonly startedMs: number,
    private readonly constructing?: ExecActor,
  ) {}

  get context(): TaskContext {
    return this;
  }
  get taskId(): string {
    return this.template === undefined ? "" : taskIdOf(this.template.taskPrefix, this.number);
  }
  get taskName(): string {
    return this.template?.name ?? `${this.constructing?.className ?? ""}.constructor`;
  }
  get actorId(): string | undefined {
    const id = this.template?.actorId ?? this.constructing?.actorId ?? "";
    return id === "" ? undefined : id;
  }
  get resources(): Readonly<Record<string, number>> {
    return this.actorResources ?? this.template?.resources ?? {};
  }
  get aborter(): AbortController {
    this.abortController ??= new AbortController();
    return this.abortController;
  }
  get signal(): AbortSignal {
    return this.aborter.signal;
  }
}

interface Group {
  readonly limit: number;
  running: number;
  readonly queue: Deque<Execution>;
}

export interface UserExecutorHost {
  /** The job that this worker serves is known. */
  joinJob(jobId: string, namespace: string, workingDir: string): void;
  /** The worker must be replaced after this: user code left something broken behind. */
  replaceWorker(why: string): void;
}

type UserFunction = (...args: unknown[]) => unknown;

const noBytes = new Uint8Array(0);
const noReturns: readonly ReturnValue[] = Object.freeze([]);
/** Run-to-completion tasks hold the event loop at most this long before timers and I/O of user code get a turn. */
const sliceMs = 10;
/** A cancelled generator has so long to return; then its task counts as ended, whatever it still waits for. */
const returnWithinMs = 1000;

export class UserExecutor {
  private readonly blobs = new Map<string, Uint8Array>();
  private readonly functions = new Map<string, UserFunction | Promise<UserFunction>>();
  private readonly templates = new Map<number, ExecTemplate>();
  private readonly queue = new Deque<Execution>();
  private readonly running = new Map<number, Running>();
  private readonly storage = new AsyncLocalStorage<Running>();
  private current: Running | undefined;
  private actor:
    | { readonly instance: Record<string, unknown>; readonly spec: ExecActor; readonly groups: Map<string, Group>; readonly main: Group }
    | undefined;
  private concurrent = false;
  private yielding = false;
  private readonly aborted = new Set<number>();
  /** Where streaming executions take up after earlier attempts. */
  private readonly resumes = new Map<number, StreamResume>();

  constructor(
    private readonly runtime: () => Runtime,
    private readonly claims: Int32Array,
    private readonly host: UserExecutorHost,
  ) {}

  get context(): TaskContext | undefined {
    return (this.concurrent ? this.storage.getStore() : this.current)?.context;
  }
  get actorSpec(): ExecActor | undefined {
    return this.actor?.spec;
  }

  /** Kept as bytes until it is needed: the job that it belongs to may not be known yet. */
  loadFunction(functionId: string, blob: Uint8Array): void {
    this.blobs.set(functionId, blob);
  }

  execTemplate(key: number, template: ExecTemplate): void {
    this.templates.set(key, template);
    if (template.actorId === "") this.host.joinJob(template.jobId, template.namespace, template.workingDir);
  }

  execute(execId: number, claim: number, templateKey: number, number: number, attempt: number, args: Uint8Array, refs: readonly Located[]): void {
    const template = this.templates.get(templateKey) as ExecTemplate;
    const execution: Execution = { execId, claim, template, number, attempt, args, refs };
    if (this.actor === undefined) {
      this.queue.push(execution);
      return;
    }
    this.groupOf(template).queue.push(execution);
  }

  becomeActor(execId: number, spec: ExecActor, args: Uint8Array, refs: readonly Located[]): void {
    this.host.joinJob(spec.jobId, spec.namespace, spec.workingDir);
    const { codec } = this.runtime();
    const running = new Running(execId, undefined, 0, spec.incarnation, spec.resources, 0, spec);
    const create = async (): Promise<void> => {
      try {
        const Class = (await this.functionOf(spec.functionId)) as unknown as new (...args: unknown[]) => Record<string, unknown>;
        await this.runtime().values.preparationsOf(refs);
        const values = refs.map((ref) => this.runtime().values.read(ref));
        if (codec.needsPreparation(args)) await codec.prepare(args);
        this.runtime().currentExec = execId;
        this.current = running;
        const list = codec.deserialize(args, { args: values }) as unknown[];
        const main: Group = { limit: spec.maxConcurrency, running: 0, queue: new Deque() };
        const groups = new Map<string, Group>();
        for (const [name, limit] of Object.entries(spec.concurrencyGroups)) groups.set(name, { limit, running: 0, queue: new Deque() });
        this.concurrent = spec.maxConcurrency > 1 || groups.size > 0;
        const instance = new Class(...list);
        this.actor = { instance, spec, groups, main };
        this.current = undefined;
        this.runtime().core.finished(execId, outcomes.ok, 0, noReturns, noBytes, "");
      } catch (error) {
        this.current = undefined;
        if (error instanceof ExitActorSignal) this.runtime().core.finished(execId, outcomes.exitActor, 0, noReturns, noBytes, "");
        else this.runtime().core.finished(execId, outcomes.error, 0, noReturns, this.errorBytes(error), describe(error));
      }
    };
    void create();
  }

  cancelExec(execId: number): void {
    const running = this.running.get(execId);
    if (running === undefined) {
      this.aborted.add(execId);
      return;
    }
    running.aborter.abort(publicError("TASK_CANCELLED", `task ${running.context.taskName} was cancelled`));
    if (running.streaming !== undefined) {
      if (running.streaming.stopped) return;
      running.streaming.stop();
      running.patience = this.runtime().clock.after(returnWithinMs, () => this.finish(running, outcomes.cancelled, noReturns, noBytes, ""));
      return;
    }
    this.finish(running, outcomes.cancelled, noReturns, noBytes, ""); // its promise is abandoned
  }

  /** A streaming task about to be executed takes up after an earlier attempt. */
  resumeStream(execId: number, resume: StreamResume): void {
    this.resumes.set(execId, resume);
  }
  consumed(execId: number, count: number): void {
    const streaming = this.running.get(execId)?.streaming;
    const resume = this.resumes.get(execId);
    if (streaming !== undefined) streaming.consumed(count);
    else if (resume !== undefined) this.resumes.set(execId, { ...resume, consumed: count }); // not begun yet
  }

  /** Something escaped from user code. Fails what runs. */
  escaped(how: "unhandled rejection" | "uncaught exception", error: unknown): void {
    // A bare "unhandled" would leave the user looking for a throw in the task's own code.
    const origin = how === "unhandled rejection" ? "a promise that nobody awaited" : "thrown by a timer or an event";
    for (const running of [...this.running.values()])
      this.finish(
        running,
        outcomes.error,
        noReturns,
        this.errorBytes(error),
        `${how} in ${running.context.taskName} (${origin}): ${describe(error)}`,
      );
    this.host.replaceWorker(`${how}: ${describe(error)}`);
  }

  /** Names of what runs, for a process that ends under it. */
  get runningNames(): readonly string[] {
    return [...this.running.values()].map((running) => running.taskName);
  }

  /** Begins what may begin. Called after each batch of messages, and whenever something finished. */
  pump(): void {
    if (this.queue.length === 0 && this.actor === undefined) return;
    if (this.actor !== undefined) {
      this.pumpGroup(this.actor.main);
      for (const group of this.actor.groups.values()) this.pumpGroup(group);
      return;
    }
    if (this.current !== undefined || this.yielding || this.queue.length === 0) return; // before its first task or actor, a worker has no runtime
    const { clock } = this.runtime();
    const until = clock.now() + sliceMs;
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) {
      const running = this.begin(next);
      if (running === undefined) continue;
      this.current = running;
      this.runtime().currentExec = next.execId;
      this.run(next, running);
      if (this.current !== undefined) return; // it awaits
      if (this.queue.length > 0 && clock.now() >= until) {
        this.yielding = true;
        clock.endOfTurn(() => {
          this.yielding = false;
          this.pump();
        });
        return;
      }
    }
  }

  private pumpGroup(group: Group): void {
    while (group.running < group.limit) {
      const next = group.queue.shift();
      if (next === undefined) return;
      const running = this.begin(next);
      if (running === undefined) continue;
      group.running++;
      if (this.concurrent) this.storage.run(running, () => this.run(next, running));
      else {
        this.current = running;
        this.runtime().currentExec = next.execId;
        this.run(next, running);
      }
    }
  }

  private begin(execution: Execution): Running | undefined {
    const { execId, template, number, attempt } = execution;
    if (Atomics.compareExchange(this.claims, execution.claim, claimStates.free, claimStates.claimed) !== claimStates.free) {
      for (const ref of execution.refs) if (ref.kind === "stored") this.runtime().values.unpin(ref.pinId); // X1
      this.resumes.delete(execId);
      return undefined;
    }
    const running = new Running(execId, template, number, attempt, this.actor?.spec.resources, this.runtime().clock.now());
    this.running.set(execId, running);
    if (this.aborted.delete(execId)) this.cancelExec(execId);
    return running;
  }

  private run(execution: Execution, running: Running): void {
    if (running.finished) return;
    try {
      const target = this.targetOf(execution);
      const preparing = execution.refs.length === 0 ? undefined : this.runtime().values.preparationsOf(execution.refs);
      if (target instanceof Promise || preparing !== undefined || this.runtime().codec.needsPreparation(execution.args)) {
        void this.runLater(execution, running, target, preparing);
        return;
      }
      this.settle(running, this.invoke(execution, target));
    } catch (error) {
      this.failed(running, error);
    }
  }

  private async runLater(
    execution: Execution,
    running: Running,
    target: UserFunction | Promise<UserFunction>,
    preparing: Promise<unknown> | undefined,
  ): Promise<void> {
    try {
      await preparing;
      const { codec } = this.runtime();
      if (codec.needsPreparation(execution.args)) await codec.prepare(execution.args);
      this.settle(running, this.invoke(execution, await target));
    } catch (error) {
      this.failed(running, error);
    }
  }

  private targetOf(execution: Execution): UserFunction | Promise<UserFunction> {
    const { template } = execution;
    if (template.actorId !== "") {
      const instance = this.actor?.instance;
      const method = instance?.[template.method];
      if (typeof method !== "function") throw new TypeError(`${this.actor?.spec.className ?? "the actor"} has no method ${template.method}`);
      return (...args) => (method as UserFunction).apply(instance, args);
    }
    return this.functionOf(template.functionId);
  }

  private functionOf(functionId: string): UserFunction | Promise<UserFunction> {
    const known = this.functions.get(functionId);
    if (known !== undefined) return known;
    const blob = this.blobs.get(functionId);
    if (blob === undefined) throw publicError("SYSTEM", `function ${functionId} was not loaded`);
    const { codec } = this.runtime();
    if (!codec.needsPreparation(blob)) {
      const whenRoot: ((fn: Function) => void)[] = [];
      return this.functionRead(functionId, codec.deserializeFunction(blob, { args: [], whenRoot }), whenRoot);
    }
    const whenRoot: ((fn: Function) => void)[] = [];
    const prepared = codec.prepareFunction(blob, { args: [], whenRoot }).then((fn) => this.functionRead(functionId, fn, whenRoot));
    prepared.catch(() => this.functions.delete(functionId)); // told by the tasks that need it; the next one tries again
    this.functions.set(functionId, prepared);
    return prepared;
  }

  private functionRead(functionId: string, fn: Function, whenRoot: readonly ((fn: Function) => void)[]): UserFunction {
    for (const complete of whenRoot) complete(fn);
    this.functions.set(functionId, fn as UserFunction);
    rememberFunction(this.runtime(), fn, functionId);
    return fn as UserFunction;
  }

  private invoke(execution: Execution, target: UserFunction): unknown {
    const runtime = this.runtime();
    const values = execution.refs.length === 0 ? [] : execution.refs.map((ref) => runtime.values.read(ref));
    const args = runtime.codec.deserialize(execution.args, { args: values }) as unknown[];
    return target(...args);
  }

  private settle(running: Running, result: unknown): void {
    if (isPromiseLike(result)) {
      result.then(
        (value) => this.succeeded(running, value),
        (error: unknown) => this.failed(running, error),
      );
      return;
    }
    this.succeeded(running, result);
  }

  private succeeded(running: Running, value: unknown): void {
    if (running.finished) return;
    if (running.template?.streaming === true) {
      void this.stream(running, running.template, value);
      return;
    }
    try {
      const { numReturns } = running.template as ExecTemplate;
      if (numReturns === 1) {
        const single = this.pack(value);
        if (single !== undefined) {
          this.finish(running, outcomes.ok, [single], noBytes, "");
          return;
        }
      } else if (numReturns > 1 && (!Array.isArray(value) || value.length !== numReturns)) {
        throw new TypeError(
          `${running.context.taskName} must return an array of ${numReturns} values (numReturns), it returned ${Array.isArray(value) ? `${value.length}` : typeof value}`,
        );
      }
      void this.storeAndFinish(running, numReturns === 1 ? [value] : numReturns === 0 ? [] : (value as unknown[]));
    } catch (error) {
      this.resultRefused(running, error);
    }
  }

  private async stream(running: Running, template: ExecTemplate, generator: unknown): Promise<void> {
    const { execId, taskId } = running.context;
    const runtime = this.runtime();
    const store = async (index: number, value: unknown): Promise<void> => {
      const { size, held } = await runtime.storeReturn(execId, taskId, index, value);
      runtime.core.yielded(execId, index, objectIdOf(taskId, index), { value: undefined, size, contained: held });
    };
    let refused = 0;
    try {
      const streaming = new Streaming(
        template.name,
        generator,
        template.backpressure,
        {
          yielded: (index, value) => {
            refused = index;
            const inline = this.pack(value);
            refused = 0;
            if (inline === undefined) return store(index, value);
            runtime.core.yielded(execId, index, "", inline);
            return undefined;
          },
          resting: () => runtime.core.resting(execId),
          now: () => runtime.clock.now(),
          turn: () => new Promise((resolve) => runtime.clock.endOfTurn(resolve)),
        },
        this.resumes.get(execId),
      );
      running.streaming = streaming;
      await streaming.run();
      if (streaming.stopped) this.finish(running, outcomes.cancelled, noReturns, noBytes, "");
      else this.finish(running, outcomes.ok, [countOf(streaming)], noBytes, "");
    } catch (error) {
      if (refused > 0) this.resultRefused(running, error, `item ${refused}`);
      else this.failed(running, error);
    }
  }

  /** Flat bytes of a value that travels inline, else undefined. */
  private pack(value: unknown): ReturnValue | undefined {
    const runtime = this.runtime();
    const held: number[] = [];
    const serialized = runtime.codec.serialize(value, { held });
    if (serialized.byteLength > runtime.connection.maxInlineBytes) return undefined;
    return { value: flatten(serialized), size: serialized.byteLength, contained: held };
  }

  private async storeAndFinish(running: Running, values: readonly unknown[]): Promise<void> {
    try {
      const returns: ReturnValue[] = [];
      for (let i = 0; i < values.length; i++) {
        const inline = this.pack(values[i]);
        if (inline !== undefined) returns.push(inline);
        else {
          const { size, held } = await this.runtime().storeReturn(running.context.execId, running.context.taskId, i, values[i]);
          returns.push({ value: undefined, size, contained: held });
        }
      }
      this.finish(running, outcomes.ok, returns, noBytes, "");
    } catch (error) {
      this.resultRefused(running, error);
    }
  }

  /** The function did its work; what it returned is no good. */
  private resultRefused(running: Running, error: unknown, what = "the result"): void {
    const refusal = refusalOf(error, `${what} of ${running.taskName}`);
    if (refusal instanceof Error) refusal.stack = `${refusal.name}: ${refusal.message}`; // the user's code is no longer on the stack
    this.failed(running, refusal, describe(refusal));
  }

  private failed(running: Running, error: unknown, message = `${running.taskName} threw ${describe(error)}`): void {
    if (running.finished) return;
    if (error instanceof ExitActorSignal) {
      const result = running.streaming === undefined ? (this.pack(undefined) as ReturnValue) : countOf(running.streaming);
      this.finish(running, outcomes.exitActor, running.template?.numReturns === 0 ? noReturns : [result], noBytes, "");
      return;
    }
    const outcome = this.isRetried(running, error) ? outcomes.retryableError : outcomes.error;
    this.finish(running, outcome, noReturns, this.errorBytes(error), message);
  }

  /** The error is of a class that the task's `retryExceptions` names. */
  private isRetried(running: Running, error: unknown): boolean {
    const id = running.template?.retryClassesId ?? "";
    const blob = this.blobs.get(id);
    if (id === "" || blob === undefined) return false;
    const classes = this.runtime().codec.deserialize(blob, { args: [] }, { copyBuffers: true }) as (abstract new () => unknown)[];
    return classes.some((cls) => error instanceof cls);
  }

  private finish(running: Running, outcome: number, returns: readonly ReturnValue[], error: Uint8Array, message: string): void {
    if (running.finished) return; // X2
    running.finished = true;
    const { execId } = running.context;
    if (running.template?.streaming === true) {
      running.patience?.cancel();
      running.streaming?.stop(); // it may run on, unheard, after an error that escaped from elsewhere
      this.resumes.delete(execId);
    }
    this.running.delete(execId);
    const runtime = this.runtime();
    const durationUs = Math.max(1, Math.round((runtime.clock.now() - running.startedMs) * 1000));
    runtime.core.finished(execId, outcome, durationUs, returns, error, message);
    if (this.actor !== undefined && running.template !== undefined) {
      this.groupOf(running.template).running--;
      this.current = undefined;
      this.schedulePump();
      return;
    }
    if (this.current !== running) return;
    this.current = undefined;
    runtime.currentExec = 0;
    if (this.queue.length > 0) this.schedulePump();
  }

  private pumpScheduled = false;
  private schedulePump(): void {
    if (this.pumpScheduled) return;
    this.pumpScheduled = true;
    queueMicrotask(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  private groupOf(template: ExecTemplate): Group {
    const { actor } = this;
    if (actor === undefined) throw new Error("not an actor");
    return actor.groups.get(template.concurrencyGroup) ?? actor.main;
  }

  private errorBytes(error: unknown): Uint8Array {
    const runtime = this.runtime();
    try {
      return flatten(runtime.codec.serialize(error, { held: [] }));
    } catch {
      // What was thrown cannot travel as it is; what it says can.
      const plain = new Error(describe(error));
      if (error instanceof Error && error.stack !== undefined) plain.stack = error.stack;
      return flatten(runtime.codec.serialize(plain, { held: [] }));
    }
  }
}

/** What a stream returns in the end: the number of its items. */
function countOf({ count }: Streaming): ReturnValue {
  const value = Buffer.alloc(8);
  value.writeDoubleLE(count);
  return { value, size: 8, contained: [] };
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** What was thrown, in a line. */
function describe(error: unknown): string {
  if (error instanceof Error) {
    const own = (error.constructor as { name?: string } | undefined)?.name;
    return `${error.name === "Error" && own !== undefined && own !== "" ? own : error.name}: ${error.message}`;
  }
  if (typeof error === "object" && error !== null && "message" in error)
    return `${(error as { name?: string }).name ?? "Error"}: ${String((error as { message: unknown }).message)}`;
  return `${inspect(error, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 500, maxArrayLength: 10 })} (not an Error)`;
}
