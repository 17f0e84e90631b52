// Activation: what one run of simulated code (a task, an actor's constructor or call, a driver's main) can do, and the handles that it holds.
//
// Invariants
//   V1. Handles are released when the activation ends, unless they were kept for the actor; after that the activation can do nothing.
import { toFixedPoint } from "@tray/protocol";
import type { UserThread } from "./user-thread.js";
import { SimHandle, type SimRef, type SimStream, type SimValue } from "./value.js";

/** A failure as simulated code catches it. */
export class SimFailure extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "SimFailure";
  }
}

/** The code goes on though its task is over. */
export class Abandoned extends Error {}

export interface SubmitOptions {
  readonly resources?: Readonly<Record<string, number>>;
  readonly maxRetries?: number;
  readonly retryExceptions?: boolean;
  readonly maxCalls?: number;
  readonly spread?: boolean;
  readonly node?: { readonly nodeId: string; readonly soft: boolean };
}

export interface StreamOptions extends SubmitOptions {
  /** The producer pauses at so many items that are not taken; 0 = never. */
  readonly backpressure: number;
}

export interface ActorOptions {
  readonly name?: string;
  readonly namespace?: string;
  readonly getIfExists?: boolean;
  readonly resources?: Readonly<Record<string, number>>;
  readonly placement?: Readonly<Record<string, number>>;
  readonly maxRestarts?: number;
  readonly maxTaskRetries?: number;
  readonly maxConcurrency?: number;
  readonly spread?: boolean;
}

export class Activation {
  private readonly handles = new Set<SimRef | SimHandle | SimStream>();
  ended = false;
  /** It has waited for something: its processors may have been lent out. */
  waited = false;

  constructor(
    readonly user: UserThread,
    /** 0: a driver's own code. */
    readonly execId: number,
    /** The task, or for a driver its worker id: for lines in the log. */
    readonly taskId: string,
    readonly attempt: number,
  ) {}

  get random() {
    return this.user.process.random;
  }

  sleep(ms: number): Promise<void> {
    this.check();
    return new Promise((resolve, reject) => {
      this.user.process.clock.after(ms, () => (this.ended ? reject(new Abandoned()) : resolve()));
    });
  }

  submit(program: string, args: readonly SimValue[], options: SubmitOptions = {}): SimRef {
    this.check();
    const { resources = { CPU: 1 }, maxRetries = 3, retryExceptions = false, maxCalls, spread, node } = options;
    const strategy = spread === true ? { kind: "spread" as const } : node === undefined ? undefined : { kind: "nodeAffinity" as const, ...node };
    const functionId = this.user.ship(program);
    return this.own(
      this.user.submit(
        this,
        { functionId, name: program, numReturns: 1, resources: toFixedPoint(resources), strategy, maxRetries, retryExceptions, maxCalls },
        args,
        0,
      ),
    );
  }

  stream(program: string, args: readonly SimValue[], options: StreamOptions): SimStream {
    this.check();
    const { resources = { CPU: 1 }, maxRetries = 3, retryExceptions = false, backpressure } = options;
    const functionId = this.user.ship(program);
    const template = { functionId, name: program, numReturns: 1, resources: toFixedPoint(resources), maxRetries, retryExceptions };
    return this.own(this.user.submitStream(this, { ...template, streaming: true, backpressure }, args, 0));
  }
  callStream(handle: SimHandle, method: string, args: readonly SimValue[], backpressure: number): SimStream {
    this.check();
    const { actorId, className, maxTaskRetries: maxRetries } = handle;
    const template = {
      functionId: "",
      name: `${className}.${method}`,
      numReturns: 1,
      resources: {},
      maxRetries,
      retryExceptions: false,
      actorId,
      method,
    };
    return this.own(this.user.submitStream(this, { ...template, streaming: true, backpressure }, args, handle.slot));
  }
  /** @returns the next item; undefined after the last. */
  async next(stream: SimStream): Promise<SimRef | undefined> {
    this.check();
    this.waited = true;
    const ref = await this.user.nextItem(this, stream);
    return ref === undefined ? undefined : this.own(ref);
  }

  async put(value: SimValue): Promise<SimRef> {
    this.check();
    const ref = await this.user.put(value);
    return this.own(ref);
  }

  /** @throws SimFailure what the object failed with; GET_TIMEOUT. */
  async get(ref: SimRef, timeoutMs?: number): Promise<SimValue> {
    this.check();
    this.waited = true;
    const value = await this.user.get(this, ref, timeoutMs);
    this.check();
    return value;
  }

  /** @returns which are ready. */
  async wait(refs: readonly SimRef[], numReturns: number, timeoutMs?: number): Promise<boolean[]> {
    this.check();
    this.waited = true;
    const ready = await this.user.wait(this, refs, numReturns, timeoutMs);
    this.check();
    return ready;
  }

  cancel(ref: SimRef | SimStream, how: { force?: boolean; recursive?: boolean } = {}): void {
    this.check();
    this.user.core.cancel(ref.slot, how.force === true, how.recursive !== false);
  }

  createActor(className: string, args: readonly SimValue[], options: ActorOptions = {}): SimHandle {
    this.check();
    return this.own(this.user.createActor(this, className, args, options));
  }
  callActor(handle: SimHandle, method: string, args: readonly SimValue[]): SimRef {
    this.check();
    return this.own(
      this.user.submit(
        this,
        {
          functionId: "",
          name: `${handle.className}.${method}`,
          numReturns: 1,
          resources: {},
          maxRetries: handle.maxTaskRetries,
          retryExceptions: false,
          actorId: handle.actorId,
          method,
        },
        args,
        handle.slot,
      ),
    );
  }
  /** @throws SimFailure ACTOR_NOT_FOUND */
  async getActor(name: string, namespace: string): Promise<SimHandle> {
    this.check();
    const found = (await this.user.call("getActor", { name, namespace })) as {
      actorId: string;
      className: string;
      maxTaskRetries: number;
      owner: SimHandle["owner"];
    };
    this.check();
    return this.own(new SimHandle(0, found.actorId, found.className, found.maxTaskRetries, found.owner));
  }
  async killActor(handle: SimHandle, noRestart: boolean): Promise<void> {
    this.check();
    await this.user.call("killActor", { actorId: handle.actorId, noRestart });
    this.check();
  }
  async actorReady(handle: SimHandle): Promise<void> {
    this.check();
    await this.user.call("actorReady", { actorId: handle.actorId });
    this.check();
  }

  release(handle: SimRef | SimHandle | SimStream): void {
    if (handle.released) return;
    handle.released = true;
    this.handles.delete(handle);
    if (handle.slot !== 0) this.user.core.release([handle.slot]);
  }

  /** The process dies here: this never returns. */
  crash(): Promise<never> {
    this.user.crash("its own code killed it");
    return new Promise(() => undefined);
  }

  /** A handle that came into being in this run. */
  own<H extends SimRef | SimHandle | SimStream>(handle: H): H {
    if (this.ended) {
      this.handles.add(handle);
      this.release(handle);
      throw new Abandoned();
    }
    this.handles.add(handle);
    return handle;
  }
  /** Moves a handle to another activation, which outlives this one. */
  give(handle: SimRef | SimHandle | SimStream, to: Activation): void {
    this.handles.delete(handle);
    to.handles.add(handle);
  }
  /** V1 */
  end(): void {
    this.ended = true;
    for (const handle of [...this.handles]) this.release(handle);
  }

  private check(): void {
    if (this.ended) throw new Abandoned();
  }
}
