// UserExecutor: runs user code on the user's thread of a worker: tasks one at a time, or one actor.
//
// Owns:     the run queue, what runs now, templates by key, the actor instance.
// Not mine: functions (loaded-functions.ts), how results travel (results.ts), the pace of a generator (streaming.ts); arguments and results elsewhere (the
//           core thread's).
// Crosses:  in: loadFunction, execTemplate, execute, becomeActor, cancelExec of ToUser. out: ToCore.finished.
//
// Invariants
//   X1. an execution is begun only by winning its claim; one that was taken back says nothing.
//   X2. every execution begun is finished exactly once, whatever the user's code does, short of ending the process.
//   X3. plain tasks run one at a time; an actor runs at most maxConcurrency calls (per group: the group's number), begun in order of arrival.
//   X4. the pins of an execution's arguments pass to whoever reads them; they are given back when it ended before. Those of an execution that was taken back are the core thread's.
import { AsyncLocalStorage } from "node:async_hooks";
import { Deque } from "@tray/common";
import {
  type ExecActor,
  type ExecTemplate,
  ExitActorSignal,
  type Located,
  outcomes,
  publicError,
  refusalOf,
  type ReturnValue,
  type Runtime,
  type StreamResume,
  winClaim,
} from "@tray/core-worker";
import { objectIdOf } from "@tray/protocol";
import { ConcurrencyGroups, type Group } from "./concurrency-groups.js";
import { type Execution, Running, type TaskContext } from "./execution.js";
import { LoadedFunctions, type UserFunction } from "./loaded-functions.js";
import { countReturn, describe, errorBytes, inlineReturn, storedReturn } from "./results.js";
import { Streaming } from "./streaming.js";

export interface UserExecutorHost {
  /** The job that this worker serves is known. */
  joinJob(jobId: string, namespace: string, workingDir: string): void;
  /** The worker must be replaced after this: user code left something broken behind. */
  replaceWorker(why: string): void;
  /** An execution has ended: what it had from the object store may be garbage now. */
  ended(): void;
}

const noBytes = new Uint8Array(0);
const noReturns: readonly ReturnValue[] = Object.freeze([]);
/** Run-to-completion tasks hold the event loop at most this long before timers and I/O of user code get a turn. */
const sliceMs = 10;
/** A cancelled generator has so long to return; then its task counts as ended, whatever it still waits for. */
const returnWithinMs = 1000;

export class UserExecutor {
  private readonly functions: LoadedFunctions;
  private readonly templates = new Map<number, ExecTemplate>();
  private readonly queue = new Deque<Execution>();
  private readonly running = new Map<number, Running>();
  private readonly storage = new AsyncLocalStorage<Running>();
  private current: Running | undefined;
  private actor: { readonly instance: Record<string, unknown>; readonly spec: ExecActor; readonly groups: ConcurrencyGroups } | undefined;
  private concurrent = false;
  private yielding = false;
  private readonly aborted = new Set<number>();
  /** Where streaming executions take up after earlier attempts. */
  private readonly resumes = new Map<number, StreamResume>();

  constructor(
    private readonly runtime: () => Runtime,
    private readonly claims: Int32Array,
    private readonly host: UserExecutorHost,
  ) {
    this.functions = new LoadedFunctions(runtime);
  }

  get context(): TaskContext | undefined {
    return (this.concurrent ? this.storage.getStore() : this.current)?.context;
  }
  get actorSpec(): ExecActor | undefined {
    return this.actor?.spec;
  }

  loadFunction(functionId: string, blob: Uint8Array): void {
    this.functions.load(functionId, blob);
  }

  execTemplate(key: number, template: ExecTemplate): void {
    this.templates.set(key, template);
    if (template.actorId === "") this.host.joinJob(template.jobId, template.namespace, template.workingDir);
  }

  execute(execId: number, claim: number, templateKey: number, number: number, attempt: number, args: Uint8Array, refs: readonly Located[]): void {
    const template = this.templates.get(templateKey) as ExecTemplate;
    const execution: Execution = { execId, claim, template, number, attempt, args, refs };
    const queue = this.actor === undefined ? this.queue : this.actor.groups.of(template.concurrencyGroup).queue;
    queue.push(execution);
  }

  becomeActor(execId: number, spec: ExecActor, args: Uint8Array, refs: readonly Located[]): void {
    this.host.joinJob(spec.jobId, spec.namespace, spec.workingDir);
    const { codec } = this.runtime();
    const running = new Running(execId, undefined, 0, spec.incarnation, spec.resources, 0, spec);
    const create = async (): Promise<void> => {
      try {
        const Class = (await this.functions.get(spec.functionId)) as unknown as new (...args: unknown[]) => Record<string, unknown>;
        await this.runtime().values.preparationsOf(refs);
        const values = refs.map((ref) => this.runtime().values.read(ref));
        if (codec.needsPreparation(args)) await codec.prepare(args);
        this.runtime().currentExec = execId;
        this.current = running;
        const list = codec.deserialize(args, { args: values }) as unknown[];
        const groups = new ConcurrencyGroups(spec);
        const instance = new Class(...list);
        this.concurrent = groups.isConcurrent; // from here on: the constructor runs by itself, in `current`
        this.actor = { instance, spec, groups };
        this.current = undefined;
        this.runtime().core.finished(execId, outcomes.ok, 0, noReturns, noBytes, "");
      } catch (error) {
        this.current = undefined;
        if (error instanceof ExitActorSignal) this.runtime().core.finished(execId, outcomes.exitActor, 0, noReturns, noBytes, "");
        else this.runtime().core.finished(execId, outcomes.error, 0, noReturns, errorBytes(this.runtime(), error), describe(error));
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
        errorBytes(this.runtime(), error),
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
      for (const group of this.actor.groups.all) this.pumpGroup(group);
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
    if (!winClaim(this.claims, execution.claim, execId)) {
      this.resumes.delete(execId);
      return undefined; // X1
    }
    const running = new Running(execId, template, number, attempt, this.actor?.spec.resources, this.runtime().clock.now());
    this.running.set(execId, running);
    if (this.aborted.delete(execId)) this.cancelExec(execId);
    return running;
  }

  private run(execution: Execution, running: Running): void {
    let target: UserFunction | Promise<UserFunction>;
    let preparing: Promise<unknown> | undefined;
    if (running.finished) {
      this.unpin(execution);
      return;
    }
    try {
      target = this.targetOf(execution);
      preparing = execution.refs.length === 0 ? undefined : this.runtime().values.preparationsOf(execution.refs);
    } catch (error) {
      this.unpin(execution);
      this.failed(running, error);
      return;
    }
    if (target instanceof Promise || preparing !== undefined || this.runtime().codec.needsPreparation(execution.args))
      void this.runLater(execution, running, target, preparing);
    else this.call(execution, running, target);
  }

  private async runLater(
    execution: Execution,
    running: Running,
    target: UserFunction | Promise<UserFunction>,
    preparing: Promise<unknown> | undefined,
  ): Promise<void> {
    let loaded: UserFunction;
    try {
      await preparing;
      const { codec } = this.runtime();
      if (codec.needsPreparation(execution.args)) await codec.prepare(execution.args);
      loaded = await target;
    } catch (error) {
      this.unpin(execution);
      this.failed(running, error);
      return;
    }
    if (running.finished)
      this.unpin(execution); // it was cancelled meanwhile, and another may run
    else this.call(execution, running, loaded);
  }

  private call(execution: Execution, running: Running, target: UserFunction): void {
    try {
      this.settle(running, this.invoke(execution, target));
    } catch (error) {
      this.failed(running, error);
    }
  }

  /** X4 */
  private unpin({ refs }: Execution): void {
    for (const ref of refs) if (ref.kind === "stored") this.runtime().values.unpin(ref.pinId);
  }

  private targetOf(execution: Execution): UserFunction | Promise<UserFunction> {
    const { template } = execution;
    if (template.actorId !== "") {
      const instance = this.actor?.instance;
      const method = instance?.[template.method];
      if (typeof method !== "function") throw new TypeError(`${this.actor?.spec.className ?? "the actor"} has no method ${template.method}`);
      return (...args) => (method as UserFunction).apply(instance, args);
    }
    return this.functions.get(template.functionId);
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
        const single = inlineReturn(this.runtime(), value);
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
      runtime.core.yielded(execId, index, objectIdOf(taskId, index), await storedReturn(runtime, running, index, value));
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
            const inline = inlineReturn(runtime, value);
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
      else this.finish(running, outcomes.ok, [countReturn(streaming.count)], noBytes, "");
    } catch (error) {
      if (refused > 0) this.resultRefused(running, error, `item ${refused}`);
      else this.failed(running, error);
    }
  }

  private async storeAndFinish(running: Running, values: readonly unknown[]): Promise<void> {
    try {
      const runtime = this.runtime();
      const returns: ReturnValue[] = [];
      // When all are small this awaits nothing: the task ends within its run.
      for (let i = 0; i < values.length; i++) returns.push(inlineReturn(runtime, values[i]) ?? (await storedReturn(runtime, running, i, values[i])));
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
      const { streaming } = running;
      const result = streaming === undefined ? (inlineReturn(this.runtime(), undefined) as ReturnValue) : countReturn(streaming.count);
      this.finish(running, outcomes.exitActor, running.template?.numReturns === 0 ? noReturns : [result], noBytes, "");
      return;
    }
    const isRetried = this.functions.isInstance(running.template?.retryClassesId ?? "", error);
    const outcome = isRetried ? outcomes.retryableError : outcomes.error;
    this.finish(running, outcome, noReturns, errorBytes(this.runtime(), error), message);
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
    this.host.ended();
    if (this.actor !== undefined && running.template !== undefined) {
      this.actor.groups.of(running.template.concurrencyGroup).running--;
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
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
