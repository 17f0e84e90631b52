// ProgramExecutor: the executing half of a simulated user's thread: the counterpart of UserExecutor, with programs in place of user code.
//
// Owns:     templates, the run queue, what runs, the actor.
// Not mine: programs (workload/), what they ask for (user-thread.ts), how values are read and written (user-thread.ts), what must hold (Checks).
// Crosses:  in: the executing half of ToUser.  out: ToCore.finished, yielded, resting.
import {
  type ExecActor,
  type ExecTemplate,
  type Located,
  outcomes,
  type ReturnValue,
  type StreamResume,
  type ToUser,
  winClaim,
} from "@tray/core-worker";
import { objectIdOf, taskIdOf } from "@tray/protocol";
import { Streaming } from "@tray/worker-host";
import type { Checks } from "../checks/checks.js";
import { type EventLog, Violation } from "../world/event-log.js";
import { Activation, SimFailure } from "./activation.js";
import { type ActorMemory, type ActorProgram, actorPrograms, programs, streamPrograms } from "./registry.js";
import type { UserThread } from "./user-thread.js";
import { encode, type SimValue } from "./value.js";

const noBytes = new Uint8Array(0);

interface Execution {
  readonly execId: number;
  readonly claim: number;
  readonly template: ExecTemplate;
  readonly number: number;
  readonly attempt: number;
  readonly args: Uint8Array;
  readonly refs: readonly Located[];
}

export interface Running {
  readonly activation: Activation;
  readonly template: ExecTemplate;
  readonly startedMs: number;
  finished: boolean;
  streaming?: Streaming;
}

/** Thrown by an actor's method: the call succeeds and the actor ends. */
export class ExitActor extends Error {}

type Executing = "loadFunction" | "execTemplate" | "execute" | "becomeActor" | "resumeStream" | "consumed" | "cancelExec";

export class ProgramExecutor implements Pick<ToUser, Executing> {
  actor:
    | {
        readonly program: ActorProgram;
        readonly spec: ExecActor;
        readonly activation: Activation;
        readonly state: ActorMemory;
      }
    | undefined;
  readonly running = new Map<number, Running>();
  private readonly templates = new Map<number, ExecTemplate>();
  private readonly blobs = new Map<string, string>();
  private readonly queue: Execution[] = [];
  private readonly cancelled = new Set<number>();
  private readonly resumes = new Map<number, StreamResume>();
  private current = 0;

  constructor(
    private readonly user: UserThread,
    private readonly log: EventLog,
    private readonly checks: Checks,
  ) {}

  loadFunction(functionId: string, blob: Uint8Array): void {
    this.blobs.set(functionId, Buffer.from(blob).toString());
  }
  execTemplate(key: number, template: ExecTemplate): void {
    this.templates.set(key, template);
    if (template.actorId === "") this.user.joinJob(template.jobId, template.namespace);
  }
  execute(execId: number, claim: number, templateKey: number, number: number, attempt: number, args: Uint8Array, refs: readonly Located[]): void {
    const template = this.templates.get(templateKey);
    if (template === undefined) {
      this.log.violated(`${this.user.process.host}: a task without its template`);
      return;
    }
    this.queue.push({ execId, claim, template, number, attempt, args, refs });
    this.pump();
  }
  cancelExec(execId: number): void {
    const running = this.running.get(execId);
    if (running === undefined) this.cancelled.add(execId);
    else if (running.streaming !== undefined) running.streaming.stop();
    else this.finish(running, outcomes.cancelled, [], "");
  }

  resumeStream(execId: number, resume: StreamResume): void {
    this.resumes.set(execId, resume);
  }
  consumed(execId: number, count: number): void {
    const streaming = this.running.get(execId)?.streaming;
    const resume = this.resumes.get(execId);
    if (streaming !== undefined) streaming.consumed(count);
    else if (resume !== undefined) this.resumes.set(execId, { ...resume, consumed: count });
  }

  becomeActor(execId: number, spec: ExecActor, args: Uint8Array, refs: readonly Located[]): void {
    this.user.joinJob(spec.jobId, spec.namespace);
    const activation = new Activation(this.user, execId, `${spec.actorId}:${spec.incarnation}`, spec.incarnation);
    this.log.note(this.user.process.host, `becomes actor ${spec.className} ${spec.actorId} incarnation ${spec.incarnation}`);
    const program = actorPrograms.get(this.blobs.get(spec.functionId) ?? "");
    const construct = async (): Promise<void> => {
      try {
        if (program === undefined) throw new Violation(`actor ${spec.className}: its class was not loaded`);
        const values = refs.map((ref) => this.user.read(ref, activation));
        const state = await program.construct(activation, ...this.user.unpack(args, activation, values));
        this.actor = { program, spec, activation, state };
        this.checks.actorBegan(this.user, spec);
        this.user.core.finished(execId, outcomes.ok, 0, [], noBytes, "");
        this.pump();
      } catch (error) {
        if (error instanceof Violation) this.log.violated(error.message);
        this.user.core.finished(execId, outcomes.error, 0, [], noBytes, error instanceof Error ? error.message : String(error));
      }
    };
    void construct();
  }

  private pump(): void {
    const limit = this.actor?.spec.maxConcurrency ?? 1;
    while (this.current < limit) {
      const next = this.queue.shift();
      if (next === undefined) return;
      this.begin(next);
    }
  }

  private begin(execution: Execution): void {
    const { execId, template, number, attempt, refs } = execution;
    if (!winClaim(this.user.claims, execution.claim, execId)) return;
    const taskId = taskIdOf(template.taskPrefix, number);
    const activation = new Activation(this.user, execId, taskId, attempt);
    const running: Running = { activation, template, startedMs: this.user.process.clock.now(), finished: false };
    this.running.set(execId, running);
    this.current++;
    this.log.note(this.user.process.host, `runs ${template.name} ${taskId} attempt ${attempt}`);
    this.checks.executing(this.user, template, number, taskId, attempt);
    if (this.cancelled.delete(execId)) {
      for (const ref of refs) if (ref.kind === "stored") this.user.core.unpin([ref.pinId]);
      this.finish(running, outcomes.cancelled, [], "");
      return;
    }
    void this.run(execution, running);
  }

  private async run({ template, args, refs }: Execution, running: Running): Promise<void> {
    const { activation } = running;
    try {
      const values = refs.map((ref) => this.user.read(ref, activation));
      const list = this.user.unpack(args, activation, values);
      if (template.streaming) {
        await this.stream(running, list);
        return;
      }
      const value = await this.invoke(template, activation, list);
      if (running.finished) return;
      const returned = await this.user.returnOf(activation, value);
      if (!running.finished) this.finish(running, outcomes.ok, [returned], "");
    } catch (error) {
      if (running.finished) return;
      if (error instanceof Violation) this.log.violated(`${this.user.process.host}: ${error.message}`);
      if (error instanceof ExitActor) this.finish(running, outcomes.exitActor, [{ value: encode(null).bytes, size: 0, contained: [] }], "");
      else
        this.finish(
          running,
          outcomes.error,
          [],
          error instanceof SimFailure ? `${error.code}: ${error.message}` : error instanceof Error ? error.message : String(error),
        );
    }
  }

  private async stream(running: Running, args: readonly SimValue[]): Promise<void> {
    const { activation, template } = running;
    const { execId } = activation;
    const generator = this.generatorOf(template, activation, args);
    const host = {
      yielded: async (index: number, value: unknown): Promise<void> => {
        this.checks.yielded(activation.taskId, index);
        const item = await this.user.returnOf(activation, value as SimValue, index);
        this.user.core.yielded(execId, index, item.value === undefined ? objectIdOf(activation.taskId, index) : "", item);
      },
      resting: () => this.user.core.resting(execId),
      now: () => this.user.process.clock.now(),
      turn: () => new Promise<void>((resolve) => this.user.process.clock.endOfTurn(resolve)),
    };
    const streaming = new Streaming(template.name, generator, template.backpressure, host, this.resumes.get(execId));
    running.streaming = streaming;
    await streaming.run();
    const count = Buffer.alloc(8);
    count.writeDoubleLE(streaming.count);
    if (streaming.stopped) this.finish(running, outcomes.cancelled, [], "");
    else this.finish(running, outcomes.ok, [{ value: count, size: 8, contained: [] }], "");
  }

  private generatorOf(template: ExecTemplate, activation: Activation, args: readonly SimValue[]): AsyncGenerator<SimValue, void, undefined> {
    if (template.actorId === "") {
      const program = streamPrograms.get(this.blobs.get(template.functionId) ?? "");
      if (program === undefined) throw new Violation(`stream ${template.name}: its function was not loaded`);
      return program(activation, ...args);
    }
    const { actor } = this;
    const method = actor?.program.streams[template.method];
    if (actor === undefined || method === undefined)
      throw new Violation(`call of ${template.name}, but this process is ${actor === undefined ? "no actor" : actor.spec.className}`);
    return method(actor.state, activation, ...args);
  }

  private async invoke(template: ExecTemplate, activation: Activation, args: SimValue[]): Promise<SimValue> {
    if (template.actorId === "") {
      const name = this.blobs.get(template.functionId);
      const program = programs.get(name ?? "");
      if (program === undefined) throw new Violation(`task ${template.name}: its function was not loaded`);
      return program(activation, ...args);
    }
    const { actor } = this;
    const method = actor?.program.methods[template.method];
    if (actor === undefined || method === undefined)
      throw new Violation(`call of ${template.name}, but this process is ${actor === undefined ? "no actor" : actor.spec.className}`);
    return method(actor.state, activation, ...args);
  }

  private finish(running: Running, outcome: number, returns: readonly ReturnValue[], message: string): void {
    if (running.finished) return;
    running.finished = true;
    const { activation } = running;
    this.running.delete(activation.execId);
    this.resumes.delete(activation.execId);
    this.current--;
    if (!this.user.process.alive) return;
    this.log.note(
      this.user.process.host,
      `ends ${running.template.name} ${activation.taskId} outcome ${outcome}${message === "" ? "" : ` ${message}`}`,
    );
    const durationUs = Math.max(1, Math.round((this.user.process.clock.now() - running.startedMs) * 1000));
    this.user.core.finished(activation.execId, outcome, durationUs, returns, encode(message).bytes, message);
    activation.end();
    this.pump();
  }
}
