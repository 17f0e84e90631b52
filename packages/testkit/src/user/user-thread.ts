// UserThread: the user's thread of a simulated driver or worker: the counterpart of Runtime, with programs in place of user code.
//
// Owns:     slots, numbers, open requests.
// Not mine: running programs (executor.ts), what they do (workload/), what must hold (Checks).
// Crosses:  out: ToCore through a pipe.  in: ToUser through a pipe.
//
// Invariants (of the code under test)
//   U1. Each get is answered once per slot, each request once; nothing is answered that was not asked.
//   U2. What a located value shows is what was stored, also at the end of the pin.
import { type Deferred, deferred } from "@tray/common";
import {
  claimSlots,
  type Failure,
  handleObjectId,
  type Located,
  type ReturnValue,
  type TemplateOptions,
  type ToCore,
  type ToUser,
} from "@tray/core-worker";
import { type Address, type JobId, newActorId, objectIdOf, taskIdOf, toFixedPoint } from "@tray/protocol";
import type { Checks } from "../checks/checks.js";
import { type EventLog, Violation } from "../world/event-log.js";
import type { SimProcess } from "../world/process.js";
import { Abandoned, type Activation, type ActorOptions, SimFailure } from "./activation.js";
import { joined, separated } from "./argument-list.js";
import { ProgramExecutor } from "./executor.js";
import type { Mapping } from "./mapping.js";
import { Pipe } from "./pipe.js";
import { actorPrograms } from "./registry.js";
import { throughPipe, userThroughPipe } from "./to-core.js";
import { Blob, decode, encode, SimHandle, SimRef, SimStream, type SimValue } from "./value.js";

/** Flat values up to this many bytes travel inline. */
const inlineMax = 1024;

export interface UserFacts {
  readonly workerId: string;
  readonly nodeId: string;
  readonly endpoint: string;
  readonly arena: Mapping;
}

interface Get {
  readonly activation: Activation;
  readonly result: Deferred<SimValue>;
}

export class UserThread {
  core!: ToCore;
  /** For the core: what it says arrives here a moment later. */
  readonly port: ToUser;
  readonly executor: ProgramExecutor;
  readonly claims = new Int32Array(claimSlots);
  facts!: UserFacts;
  jobId = "";
  namespace = "";
  lostWith: Failure | undefined;
  private readonly toCore: Pipe;
  private readonly fromCore: Pipe;
  private readonly gets = new Map<number, Get>();
  private readonly replies = new Map<number, Deferred<unknown>>();
  private readonly forgotten = new Set<number>();
  private readonly shipped = new Set<string>();
  private readonly templateIds = new Map<string, number>();
  private nextSlot = 1;
  private nextRequest = 1;
  private nextNumber = 0;
  private prefix = "";

  constructor(
    readonly process: SimProcess,
    private readonly log: EventLog,
    private readonly checks: Checks,
    /** Ends the process by itself; `why` undefined: as told by the core. */
    private readonly exitProcess: (code: number) => void,
    readonly crash: (why: string) => void,
  ) {
    const alive = (): boolean => process.alive;
    this.toCore = new Pipe(process.clock, process.random, alive, true);
    this.fromCore = new Pipe(process.clock, process.random, alive, false);
    const executor = new ProgramExecutor(this, log, checks);
    this.executor = executor;
    this.port = userThroughPipe(this.fromCore, {
      ready: (...a) => this.ready(...a),
      reply: (...a) => this.reply(...a),
      lost: (failure) => this.lost(failure),
      logs: () => undefined,
      collectGarbage: () => undefined,
      exit: (code) => this.exitProcess(code),
      loadFunction: (...a) => executor.loadFunction(...a),
      execTemplate: (...a) => executor.execTemplate(...a),
      execute: (...a) => executor.execute(...a),
      becomeActor: (...a) => executor.becomeActor(...a),
      resumeStream: (...a) => executor.resumeStream(...a),
      consumed: (...a) => executor.consumed(...a),
      cancelExec: (...a) => executor.cancelExec(...a),
    });
  }

  attach(core: ToCore, facts: UserFacts): void {
    this.core = throughPipe(this.toCore, core);
    this.facts = facts;
    this.fromCore.open();
  }
  joinJob(jobId: string, namespace: string): void {
    if (this.jobId !== "" && this.jobId !== jobId)
      this.log.violated(`${this.process.host} served job ${this.jobId} and is given work of job ${jobId}`);
    this.jobId = jobId;
    this.namespace = namespace;
    this.prefix = jobId + this.facts.workerId.slice(0, 14);
  }
  get self(): Address {
    const { workerId, nodeId, endpoint } = this.facts;
    return { workerId, nodeId, endpoint };
  }
  get openRequests(): number {
    return this.gets.size + this.replies.size;
  }

  // ── what activations ask for ───────────────────────────────────────────────────────────────────────────────────────────
  ship(program: string): string {
    const functionId = `f-${program}`;
    if (!this.shipped.has(functionId)) {
      this.shipped.add(functionId);
      this.core.putFunction(functionId, Buffer.from(program));
    }
    return functionId;
  }

  submit(activation: Activation, options: TemplateOptions, args: readonly SimValue[], alsoHeld: number): SimRef {
    const { slot, taskId } = this.submitted(activation, options, args, alsoHeld);
    return new SimRef(slot, objectIdOf(taskId, 0), this.self);
  }
  submitStream(activation: Activation, options: TemplateOptions, args: readonly SimValue[], alsoHeld: number): SimStream {
    const { slot, taskId } = this.submitted(activation, options, args, alsoHeld);
    return new SimStream(slot, taskId);
  }
  async nextItem(activation: Activation, stream: SimStream): Promise<SimRef | undefined> {
    const slot = this.nextSlot++;
    this.checks.askedForItem(stream.taskId);
    const taken = (await this.request((id) => this.core.nextItem(id, activation.execId !== 0, stream.slot, slot))) as { index: number } | null;
    return taken === null ? undefined : new SimRef(slot, objectIdOf(stream.taskId, taken.index), this.self);
  }

  private submitted(activation: Activation, options: TemplateOptions, args: readonly SimValue[], alsoHeld: number): { slot: number; taskId: string } {
    const key = JSON.stringify(options);
    let templateId = this.templateIds.get(key);
    if (templateId === undefined) {
      templateId = this.templateIds.size + 1;
      this.templateIds.set(key, templateId);
      this.core.defineTemplate(templateId, options);
    }
    const packed = this.pack(args);
    const number = ++this.nextNumber;
    const slot = this.nextSlot++;
    const taskId = taskIdOf(this.prefix, number);
    this.checks.submitted(taskId, options);
    const held = alsoHeld === 0 ? packed.held : [...packed.held, alsoHeld];
    this.core.submit(templateId, number, slot, activation.execId, packed.bytes, packed.argSlots, held);
    if (packed.temporary.length > 0) this.core.release(packed.temporary);
    return { slot, taskId };
  }

  createActor(activation: Activation, className: string, args: readonly SimValue[], options: ActorOptions): SimHandle {
    const functionId = this.ship(className);
    const packed = this.pack(args);
    const slot = this.nextSlot++;
    const actorId = newActorId(this.process.random, this.jobId as JobId);
    const lifetime = toFixedPoint(options.resources ?? {});
    const maxTaskRetries = options.maxTaskRetries ?? 0;
    this.checks.actorCreated(actorId, { maxRestarts: options.maxRestarts ?? 0, maxTaskRetries });
    this.core.createActor(
      slot,
      {
        actorId,
        className,
        functionId,
        name: options.name ?? "",
        namespace: options.namespace ?? this.namespace,
        getIfExists: options.getIfExists === true,
        detached: false,
        placementResources: options.placement === undefined ? lifetime : toFixedPoint(options.placement),
        lifetimeResources: lifetime,
        strategy: options.spread === true ? { kind: "spread" } : undefined,
        maxRestarts: options.maxRestarts ?? 0,
        maxTaskRetries,
        maxConcurrency: options.maxConcurrency ?? 1,
        concurrencyGroups: {},
        maxPendingCalls: 0,
        methods: Object.keys(actorPrograms.get(className)?.methods ?? {}),
        streams: Object.keys(actorPrograms.get(className)?.streams ?? {}),
      },
      packed.bytes,
      packed.argSlots,
      packed.held,
    );
    if (packed.temporary.length > 0) this.core.release(packed.temporary);
    void activation;
    return new SimHandle(slot, actorId, className, maxTaskRetries, this.self);
  }

  async put(value: SimValue): Promise<SimRef> {
    const { bytes, held } = encode(value);
    const slot = this.nextSlot++;
    const number = ++this.nextNumber;
    const ref = new SimRef(slot, objectIdOf(this.prefix + number.toString(16).padStart(10, "0"), 0), this.self);
    if (bytes.length <= inlineMax) {
      this.core.put(slot, number, bytes, held);
      return ref;
    }
    const created = (await this.request((id) => this.core.create(id, slot, number, "", bytes.length, held))) as { offset: number; objectId: string };
    if (created.objectId !== ref.objectId) throw new Violation(`put of ${ref.objectId} was created as ${created.objectId}`);
    this.facts.arena.write(created.offset, bytes.length).set(bytes);
    await this.request((id) => this.core.seal(id, ref.objectId));
    return ref;
  }

  /** A result of a task as it travels: a large one is stored under its own id. */
  async returnOf(activation: Activation, value: SimValue, index = 0): Promise<ReturnValue> {
    const { bytes, held } = encode(value);
    if (bytes.length <= inlineMax) return { value: bytes, size: bytes.length, contained: held };
    const objectId = objectIdOf(activation.taskId, index);
    const created = (await this.request((id) => this.core.create(id, 0, activation.execId, objectId, bytes.length, []))) as {
      offset: number;
      exists: boolean;
    };
    if (!created.exists) {
      this.facts.arena.write(created.offset, bytes.length).set(bytes);
      await this.request((id) => this.core.seal(id, objectId));
    }
    return { value: undefined, size: bytes.length, contained: held };
  }

  get(activation: Activation, ref: SimRef, timeoutMs: number | undefined): Promise<SimValue> {
    if (this.lostWith !== undefined) return Promise.reject(new SimFailure(this.lostWith.code, this.lostWith.message));
    const id = this.nextRequest++;
    const result = deferred<SimValue>();
    this.gets.set(id, { activation, result });
    this.core.get(id, activation.execId !== 0, [ref.slot]);
    if (timeoutMs !== undefined) {
      this.process.clock.after(timeoutMs, () => {
        if (!this.gets.delete(id)) return;
        this.forgotten.add(id);
        this.core.forget(id);
        result.reject(new SimFailure("GET_TIMEOUT", `get of ${ref.objectId}`));
      });
    }
    return result.promise;
  }

  async wait(activation: Activation, refs: readonly SimRef[], numReturns: number, timeoutMs: number | undefined): Promise<boolean[]> {
    let id = 0;
    const reply = this.request((requestId) => {
      id = requestId;
      this.core.wait(
        requestId,
        activation.execId !== 0,
        numReturns,
        true,
        refs.map((ref) => ref.slot),
      );
    });
    // Forgetting a wait makes the core answer with what is ready.
    if (timeoutMs !== undefined) this.process.clock.after(timeoutMs, () => this.core.forget(id));
    const ready = new Array<boolean>(refs.length).fill(false);
    for (const index of (await reply) as number[]) ready[index] = true;
    if (timeoutMs === undefined && ready.filter(Boolean).length < numReturns)
      this.log.violated(`a wait for ${numReturns} was answered with ${JSON.stringify(ready)}`);
    return ready;
  }

  call(method: string, input: unknown): Promise<unknown> {
    return this.request((id) => this.core.call(id, method, JSON.stringify(input)));
  }

  private request(send: (id: number) => void): Promise<unknown> {
    if (this.lostWith !== undefined) return Promise.reject(new SimFailure(this.lostWith.code, this.lostWith.message));
    const id = this.nextRequest++;
    const reply = deferred<unknown>();
    this.replies.set(id, reply);
    send(id);
    return reply.promise;
  }

  /** Arguments; blobs too large to travel become objects of their own, as in Runtime. */
  private pack(args: readonly SimValue[]): { bytes: Uint8Array; argSlots: number[]; held: number[]; temporary: number[] } {
    const argSlots: number[] = [];
    const temporary: number[] = [];
    const top = new Map<SimRef, number>();
    const list = args.map((arg) => {
      let ref: SimValue = arg;
      if (arg instanceof Blob && arg.size > inlineMax / 4) {
        const { bytes, held } = encode(arg);
        const slot = this.nextSlot++;
        const number = ++this.nextNumber;
        this.core.putLarge(slot, number, bytes, held);
        temporary.push(slot);
        ref = new SimRef(slot, "", this.self);
      }
      if (ref instanceof SimRef) {
        top.set(ref, argSlots.length);
        argSlots.push(ref.slot);
      }
      return ref;
    });
    // Nested uses of a reference that is also an argument of its own travel as references.
    const encoded = list.map((arg) =>
      arg instanceof SimRef ? { bytes: encode(arg, (r) => top.get(r) ?? -1).bytes, held: [] as number[] } : encode(arg),
    );
    return { bytes: joined(encoded.map(({ bytes }) => bytes)), argSlots, held: encoded.flatMap((one) => one.held), temporary };
  }

  unpack(bytes: Uint8Array, activation: Activation, refs: readonly SimValue[]): SimValue[] {
    return separated(bytes).map((one) => decode(one, this.decoding(activation, refs)));
  }

  private decoding(activation: Activation, args: readonly SimValue[] = []): Parameters<typeof decode>[1] {
    const adopt = (objectId: string, owner: Address): number => {
      const slot = this.nextSlot++;
      this.core.adopt(slot, objectId, owner.workerId, owner.nodeId, owner.endpoint);
      return slot;
    };
    return {
      args,
      adopt: (objectId, owner) => activation.own(new SimRef(adopt(objectId, owner), objectId, owner)),
      adoptHandle: (actorId, className, counts, retries, owner) =>
        activation.own(new SimHandle(counts ? adopt(handleObjectId(actorId), owner) : 0, actorId, className, retries, owner)),
    };
  }

  /** Reads a located value; a stored one is read again when its pin goes, a little later. */
  read(located: Located, activation: Activation): SimValue {
    if (located.kind === "failed") throw new SimFailure(located.failure.code, located.failure.message);
    try {
      if (located.kind === "value") return decode(located.value, this.decoding(activation));
      const { offset, size, pinId } = located;
      const bytes = (): Uint8Array => this.facts.arena.read(offset, size);
      const first = bytes();
      this.process.clock.after(this.process.random.next() * 5, () => {
        if (Buffer.compare(first, bytes()) !== 0)
          this.log.violated(`${this.process.host}: a pinned object of ${size} bytes at ${offset} changed under its reader`); // U2
        this.core.unpin([pinId]);
      });
      return decode(first, this.decoding(activation));
    } catch (error) {
      if (error instanceof Violation) this.log.violated(`${this.process.host}: ${error.message}`);
      throw error;
    }
  }

  // ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────
  private ready(requestId: number, index: number, located: Located): void {
    const request = this.gets.get(requestId);
    if (request === undefined || index !== 0) {
      if (!this.forgotten.delete(requestId)) this.log.violated(`${this.process.host}: get ${requestId} was answered twice, or never asked`); // U1
      if (located.kind === "stored") this.core.unpin([located.pinId]);
      return;
    }
    this.gets.delete(requestId);
    if (request.activation.ended) {
      if (located.kind === "stored") this.core.unpin([located.pinId]);
      request.result.reject(new Abandoned());
      return;
    }
    try {
      request.result.resolve(this.read(located, request.activation));
    } catch (error) {
      request.result.reject(error);
    }
  }

  private reply(requestId: number, ok: boolean, json: string): void {
    const request = this.replies.get(requestId);
    if (request === undefined) {
      if (!this.forgotten.delete(requestId))
        this.log.violated(`${this.process.host}: request ${requestId} was answered twice, or never asked: ${json}`); // U1
      return;
    }
    this.replies.delete(requestId);
    const value = JSON.parse(json) as unknown;
    if (ok) request.resolve(value);
    else {
      const { code, message } = value as Failure;
      request.reject(new SimFailure(code, message));
    }
  }

  lost(failure: Failure): void {
    this.lostWith = failure;
    const error = new SimFailure(failure.code, failure.message);
    for (const { result } of this.gets.values()) result.reject(error);
    for (const reply of this.replies.values()) reply.reject(error);
    // The core did not hear of it: what it had found out by then is still on its way, once for each.
    for (const id of [...this.gets.keys(), ...this.replies.keys()]) this.forgotten.add(id);
    this.gets.clear();
    this.replies.clear();
  }
}
