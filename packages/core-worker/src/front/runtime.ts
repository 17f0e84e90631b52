// Runtime: the user's half of a driver or worker. What the public API does, it does here: handles, values, requests to the core thread.
//
// Owns:     handles by slot, open requests, numbers of submissions, what this thread has cached of values, private mappings of the arena.
// Not mine: anything that happens elsewhere (the core thread's), running tasks (user-executor.ts), parsing options (options.ts).
// Crosses:  out: ToCore. in: ready, reply, lost of ToUser.
//
// Invariants
//   N1. a slot is in use from the message that binds it to the message that releases it; it is given out again only after that one was sent.
//   N2. two reads never share memory: inline bytes are copied where they could be viewed, stored ones are mapped privately each time.
//   N3. the process stays alive while something is awaited, and not because tray is connected.
import { type Clock, type Deferred, deferred, TrayError } from "@tray/common";
import type { Arena } from "@tray/object-store";
import { indexOfObject, numberOfObject, objectIdOf, prefixOfObject } from "@tray/protocol";
import { type Codec, flatten, type Serialized, writeFlat } from "@tray/serialization";
import type { ThreadChannel } from "../thread/channel.js";
import type { ToCore } from "../thread/to-core.js";
import type { Failure, Located } from "../thread/to-user.js";
import { errorOf, publicError } from "./errors.js";
import { type GeneratorHost, ObjectRefGenerator } from "./object-ref-generator.js";
import { type CachedValue, isObjectRef, ObjectRef, type OwnerAddress, type RefHost } from "./object-ref.js";

/** Where this process is, as the core thread learned when it connected. */
export interface Connection {
  /** Empty in a worker before its first task. */
  readonly jobId: string;
  readonly namespace: string;
  readonly workerId: string;
  readonly nodeId: string;
  /** Own address, for references that leave. */
  readonly endpoint: string;
  readonly gcsAddress: string;
  readonly sessionDir: string;
  /** Flat values up to this many bytes travel inline. */
  readonly maxInlineBytes: number;
}

/** What extensions get when a value is serialized: they note the slots of references inside. */
export interface WriteContext {
  readonly held: number[];
  /** The function being shipped: a remote function made of it refers to itself. */
  readonly root?: Function;
}
/** What extensions get when a value is read: top-level reference arguments, already read. */
export interface ReadContext {
  readonly args: readonly unknown[];
  /** Told the function being read, once it is: see WriteContext.root. */
  readonly whenRoot?: ((fn: Function) => void)[];
}

interface GetRequest {
  /** Values not yet read. */
  left: number;
  /** Its caller awaits: modules may be loaded before a value is read. */
  readonly mayPrepare: boolean;
  readonly refs: readonly ObjectRef<unknown>[];
  readonly results: unknown[];
  done(error: unknown): void;
  settled: boolean;
}

/** A reference, or the end of a stream. */
export type Waitable = ObjectRef<unknown> | ObjectRefGenerator<unknown>;

interface ReplyRequest {
  resolve(json: string): void;
  reject(error: unknown): void;
}

/** Stands in an argument list for a top-level reference. */
export class ArgumentPlaceholder {
  readonly "tray.argument" = true;
  constructor(readonly index: number) {}
}

export interface PackedArguments {
  readonly bytes: Uint8Array;
  readonly argSlots: readonly number[];
  readonly heldSlots: readonly number[];
  /** References made for arguments that were too large to travel inline: to be released after the submission. */
  readonly temporary: readonly ObjectRef<unknown>[];
}

const noSlots: readonly number[] = Object.freeze([]);
const noRefs: readonly ObjectRef<unknown>[] = Object.freeze([]);
const noArgs: ReadContext = Object.freeze({ args: Object.freeze([]) });
const copied = Object.freeze({ copyBuffers: true });
/** Bytes of a stored value that tell whether it needs preparation. */
const prefixLook = 64;
/** A freed slot is reused only behind so many others. */
const slotQuarantine = 4096;

export class Runtime implements RefHost, GeneratorHost {
  private readonly gets = new Map<number, GetRequest>();
  private readonly replies = new Map<number, ReplyRequest>();
  private freeSlots: number[] = [];
  private freeHead = 0;
  private nextSlot = 1;
  private nextRequest = 0;
  private nextNumber = 0;
  private nextTemplate = 0;
  private dropped: number[] = [];
  private unpinned: number[] = [];
  private dropScheduled = false;
  private readonly garbage = new FinalizationRegistry<number>((slot) => this.releaseSlot(slot));
  private readonly pinGarbage = new FinalizationRegistry<number>((pinId) => this.unpin(pinId));
  /** Handles that keep the place of their value, by pin. */
  private readonly places = new Map<number, WeakRef<ObjectRef<unknown>>>();
  private waiting = 0;
  private lostWith: Failure | undefined;
  private emptyArgs: Uint8Array | undefined;
  private prefix = "";
  /** The execution whose code runs now; 0 in a driver. */
  currentExec = 0;
  currentJobId = "";
  currentNamespace = "";
  closed = false;

  constructor(
    readonly core: ToCore,
    private readonly channel: Pick<ThreadChannel, "ref" | "unref" | "blockAndDrain">,
    readonly codec: Codec,
    readonly arena: Arena,
    readonly clock: Clock,
    readonly connection: Connection,
  ) {
    this.joinJob(connection.jobId, connection.namespace);
  }

  get taskPrefix(): string {
    return this.prefix;
  }
  /** Workers learn their job with their first task. */
  joinJob(jobId: string, namespace: string): void {
    this.currentJobId = jobId;
    this.currentNamespace = namespace;
    this.prefix = jobId + this.connection.workerId.slice(0, 14);
  }
  /** Captured references stay held. Their handles may be collected, so the core is told to hold them by slots of their own. */
  keepForJob(slots: readonly number[]): void {
    if (slots.length === 0) return;
    const { bytes } = this.packArguments([]);
    this.core.put(this.takeSlot(), ++this.nextNumber, bytes, slots); // an object that contains them and is never released
  }

  // ── slots and handles ──────────────────────────────────────────────────────────────────────────────────────────────────
  takeSlot(): number {
    if (this.freeSlots.length - this.freeHead <= slotQuarantine) return this.nextSlot++;
    const slot = this.freeSlots[this.freeHead++] as number;
    if (this.freeHead >= 65_536) {
      this.freeSlots = this.freeSlots.slice(this.freeHead);
      this.freeHead = 0;
    }
    return slot;
  }
  takeTemplate(): number {
    return ++this.nextTemplate;
  }
  track(ref: object, slot: number): void {
    this.garbage.register(ref, slot, ref);
  }
  untrack(ref: object): void {
    this.garbage.unregister(ref);
  }
  releaseSlot(slot: number): void {
    this.dropped.push(slot);
    if (this.dropped.length >= 4096) this.flushDropped();
    else this.scheduleDrops();
  }

  /** A slot for a reference or counted handle that arrived inside a value. */
  adoptSlot(objectId: string, owner: OwnerAddress): number {
    this.checkOpen();
    const slot = this.takeSlot();
    this.core.adopt(slot, objectId, owner.workerId, owner.nodeId, owner.endpoint);
    return slot;
  }
  adopt(objectId: string, owner: OwnerAddress): ObjectRef<unknown> {
    const slot = this.adoptSlot(objectId, owner);
    const mine = owner.workerId === this.connection.workerId && prefixOfObject(objectId) === this.prefix;
    return new ObjectRef(this, slot, mine ? numberOfObject(objectId) : 0, indexOfObject(objectId), mine ? undefined : owner, objectId);
  }
  /** Who owns a reference, as others must know it. */
  ownerOf(ref: { readonly owner: OwnerAddress | undefined }): OwnerAddress {
    return ref.owner ?? this.self;
  }
  get self(): OwnerAddress {
    const { workerId, nodeId, endpoint } = this.connection;
    return { workerId, nodeId, endpoint };
  }

  // ── submitting ─────────────────────────────────────────────────────────────────────────────────────────────────────────
  /** `alsoHeld`: slot of the actor's handle, for calls; 0 = none. */
  submit(templateId: number, numReturns: number, args: readonly unknown[], alsoHeld: number): ObjectRef<unknown>[] {
    const packed = this.packArguments(args);
    const number = ++this.nextNumber;
    // The core binds firstSlot, firstSlot + 1, …: several returns need slots in a row.
    let firstSlot: number;
    if (numReturns === 1) firstSlot = this.takeSlot();
    else {
      firstSlot = this.nextSlot;
      this.nextSlot += numReturns;
    }
    const held = alsoHeld === 0 ? packed.heldSlots : [...packed.heldSlots, alsoHeld];
    this.core.submit(templateId, number, firstSlot, this.currentExec, packed.bytes, packed.argSlots, held);
    const refs = new Array<ObjectRef<unknown>>(numReturns);
    for (let i = 0; i < numReturns; i++) refs[i] = new ObjectRef(this, firstSlot + i, number, i, undefined, undefined);
    for (const ref of packed.temporary) ref.release();
    return refs;
  }

  /** The same for a generator. */
  submitStream(templateId: number, args: readonly unknown[], alsoHeld: number): ObjectRefGenerator<unknown> {
    const packed = this.packArguments(args);
    const number = ++this.nextNumber;
    const slot = this.takeSlot();
    const held = alsoHeld === 0 ? packed.heldSlots : [...packed.heldSlots, alsoHeld];
    this.core.submit(templateId, number, slot, this.currentExec, packed.bytes, packed.argSlots, held);
    for (const ref of packed.temporary) ref.release();
    return new ObjectRefGenerator(this, slot, number);
  }

  async nextItem(streamSlot: number, number: number): Promise<ObjectRef<unknown> | undefined> {
    this.checkOpen();
    const slot = this.takeSlot();
    const taken = JSON.parse(await this.request((id) => this.core.nextItem(id, this.currentExec !== 0, streamSlot, slot))) as {
      index: number;
    } | null;
    if (taken === null) {
      this.releaseSlot(slot);
      return undefined;
    }
    return new ObjectRef<unknown>(this, slot, number, taken.index, undefined, undefined);
  }

  /** Serializes an argument list now; later changes of the arguments are not seen. */
  packArguments(args: readonly unknown[]): PackedArguments {
    this.checkOpen();
    if (args.length === 0) {
      this.emptyArgs ??= flatten(this.codec.serialize([], { held: [] }));
      return { bytes: this.emptyArgs, argSlots: noSlots, heldSlots: noSlots, temporary: noRefs };
    }
    const argSlots: number[] = [];
    const held: number[] = [];
    let list: unknown[] | undefined;
    for (let i = 0; i < args.length; i++) {
      const arg = args[i];
      if (!isObjectRef(arg)) continue;
      list ??= [...args];
      list[i] = new ArgumentPlaceholder(argSlots.length);
      argSlots.push(this.slotOf(arg));
    }
    const serialized = this.codec.serialize(list ?? args, { held });
    const { maxInlineBytes } = this.connection;
    if (serialized.byteLength <= maxInlineBytes) return { bytes: flatten(serialized), argSlots, heldSlots: held, temporary: noRefs };
    // Too much to travel with the task: the large ones become objects of their own.
    const temporary: ObjectRef<unknown>[] = [];
    list ??= [...args];
    for (let i = 0; i < list.length; i++) {
      if (list[i] instanceof ArgumentPlaceholder) continue;
      const inner: number[] = [];
      const one = this.codec.serialize(list[i], { held: inner });
      if (one.byteLength <= maxInlineBytes / 4) continue;
      const ref = this.putThroughCore(one, inner);
      temporary.push(ref);
      list[i] = new ArgumentPlaceholder(argSlots.length);
      argSlots.push(ref.slot);
    }
    const rest: number[] = [];
    return { bytes: flatten(this.codec.serialize(list, { held: rest })), argSlots, heldSlots: rest, temporary };
  }

  flat(value: Serialized): Uint8Array {
    return flatten(value);
  }

  slotOf(ref: { readonly slot: number; readonly isReleased: boolean; toString(): string }): number {
    if (ref.isReleased) throw publicError("OBJECT_FREED", `${ref.toString()} was released; it cannot be used any more`);
    return ref.slot;
  }

  // ── put ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
  async put(value: unknown): Promise<ObjectRef<unknown>> {
    this.checkOpen();
    if (isObjectRef(value)) {
      throw new TrayError("INVALID_ARGUMENT", "put of an ObjectRef: it is a reference already", {
        hint: "pass it on as it is, or wrap it in an array to store the reference itself",
      });
    }
    const held: number[] = [];
    const serialized = this.codec.serialize(value, { held });
    const slot = this.takeSlot();
    const number = ++this.nextNumber;
    if (serialized.byteLength <= this.connection.maxInlineBytes) {
      const bytes = flatten(serialized);
      this.core.put(slot, number, bytes, held);
      const ref = new ObjectRef<unknown>(this, slot, number, 0, undefined, undefined);
      ref.cached = { kind: "value", value: bytes };
      ref.known = true;
      return ref;
    }
    const created = this.request((id) => this.core.create(id, slot, number, "", serialized.byteLength, held));
    const ref = new ObjectRef<unknown>(this, slot, number, 0, undefined, undefined);
    const { objectId, offset } = JSON.parse(await created) as { objectId: string; offset: number };
    writeFlat(serialized, this.arena.write(offset, serialized.byteLength));
    await this.request((id) => this.core.seal(id, objectId));
    ref.known = true;
    return ref;
  }

  /** Stores a task's return value in the arena under its own id. */
  async storeReturn(execId: number, taskId: string, index: number, value: unknown): Promise<{ size: number; held: number[] }> {
    const held: number[] = [];
    const serialized = this.codec.serialize(value, { held });
    const size = serialized.byteLength;
    const objectId = objectIdOf(taskId, index);
    const created = JSON.parse(await this.request((id) => this.core.create(id, 0, execId, objectId, size, noSlots))) as {
      offset: number;
      exists: boolean;
    };
    if (created.exists) return { size, held }; // an earlier attempt on this node had stored it
    writeFlat(serialized, this.arena.write(created.offset, size));
    await this.request((id) => this.core.seal(id, objectId));
    return { size, held };
  }

  private putThroughCore(value: Serialized, held: readonly number[]): ObjectRef<unknown> {
    const slot = this.takeSlot();
    const number = ++this.nextNumber;
    this.core.putLarge(slot, number, flatten(value), held);
    return new ObjectRef(this, slot, number, 0, undefined, undefined);
  }

  // ── get and wait ───────────────────────────────────────────────────────────────────────────────────────────────────────
  /** Starts a get; `done` is called once, perhaps before this returns, with the first error or undefined. Answers how to give up. */
  beginGet(refs: readonly ObjectRef<unknown>[], results: unknown[], mayPrepare: boolean, done: (error: unknown) => void): () => void {
    this.checkOpen();
    const slots: number[] = [];
    const asked: ObjectRef<unknown>[] = [];
    const at: number[] = [];
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as ObjectRef<unknown>;
      const slot = this.slotOf(ref);
      if (ref.cached !== undefined) {
        results[i] = this.readCached(ref.cached);
        continue;
      }
      slots.push(slot);
      asked.push(ref);
      at.push(i);
    }
    if (slots.length === 0) {
      done(undefined);
      return () => undefined;
    }
    const id = this.takeRequest();
    const ordered = new Array<unknown>(slots.length);
    const request: GetRequest = {
      left: slots.length,
      mayPrepare,
      refs: asked,
      results: ordered,
      settled: false,
      done: (error) => {
        if (request.settled) return;
        this.endGet(id, request, error !== undefined && request.left > 0);
        if (error === undefined) for (let i = 0; i < at.length; i++) results[at[i] as number] = ordered[i];
        done(error);
      },
    };
    this.gets.set(id, request);
    this.nowWaiting();
    this.core.get(id, this.currentExec !== 0, slots);
    return () => {
      if (!request.settled) this.endGet(id, request, true);
    };
  }

  get(refs: readonly ObjectRef<unknown>[], timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<unknown[]> {
    const isAnyCached = refs.some((ref) => ref.cached !== undefined);
    const preparing = isAnyCached ? this.preparationsOf(refs.map((ref) => ref.cached)) : undefined;
    return preparing === undefined ? this.getPrepared(refs, timeoutMs, signal) : preparing.then(() => this.getPrepared(refs, timeoutMs, signal));
  }

  private getPrepared(refs: readonly ObjectRef<unknown>[], timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const results: unknown[] = new Array<unknown>(refs.length);
      let finished = false;
      let stop: (() => void) | undefined = undefined;
      const giveUp = this.beginGet(refs, results, true, (error) => {
        finished = true;
        stop?.();
        if (error === undefined) resolve(results);
        else reject(error as Error);
      });
      if (finished || (timeoutMs === undefined && signal === undefined)) return;
      const abandon = (reason: unknown): void => {
        giveUp();
        stop?.();
        reject(reason as Error);
      };
      const onAbort = (): void => abandon(signal?.reason);
      const timer = timeoutMs === undefined ? undefined : this.clock.after(timeoutMs, () => abandon(timeoutError(refs, timeoutMs)));
      signal?.addEventListener("abort", onAbort, { once: true });
      stop = () => {
        timer?.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
    });
  }

  /** Blocks this thread; the core thread goes on. */
  getSync(ref: ObjectRef<unknown>, timeoutMs: number | undefined): unknown {
    const results: unknown[] = [undefined];
    let finished = false;
    let failed: unknown;
    const giveUp = this.beginGet([ref], results, false, (error) => {
      finished = true;
      failed = error;
    });
    const deadline = timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.clock.now() + timeoutMs;
    while (!finished) {
      const left = deadline - this.clock.now();
      if (left <= 0) {
        giveUp();
        throw timeoutError([ref], timeoutMs as number);
      }
      this.channel.blockAndDrain(Math.min(left, 1000));
    }
    if (failed !== undefined) throw failed as Error;
    return results[0];
  }

  /** Which of `refs` are ready, once `numReturns` are or the time is over. */
  async wait(refs: readonly Waitable[], numReturns: number, timeoutMs: number | undefined, fetchLocal: boolean): Promise<boolean[]> {
    this.checkOpen();
    const ready = new Array<boolean>(refs.length);
    const slots = new Array<number>(refs.length);
    let count = 0;
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as Waitable;
      slots[i] = this.slotOf(ref);
      ready[i] = ref.known;
      if (ref.known) count++;
    }
    if (count >= numReturns) return ready;
    let id = 0;
    const reply = this.request((requestId) => {
      id = requestId;
      this.core.wait(requestId, this.currentExec !== 0, numReturns, fetchLocal, slots);
    });
    // Forgetting a wait makes the core answer with what is ready.
    if (timeoutMs === 0) this.core.forget(id);
    const timer = timeoutMs === undefined || timeoutMs === 0 ? undefined : this.clock.after(timeoutMs, () => this.core.forget(id));
    const indices = JSON.parse(await reply) as number[];
    timer?.cancel();
    for (const index of indices) {
      ready[index] = true;
      if (fetchLocal) (refs[index] as Waitable).known = true;
    }
    return ready;
  }

  /** Asks the core thread for something; resolves with its JSON answer. */
  request(send: (id: number) => void, signal?: AbortSignal): Promise<string> {
    this.checkOpen();
    const id = this.takeRequest();
    const reply: Deferred<string> = deferred<string>();
    const finish = (): void => {
      if (this.replies.delete(id)) this.noLongerWaiting();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => {
      finish();
      this.core.forget(id);
      reply.reject(signal?.reason);
    };
    this.replies.set(id, {
      resolve: (json) => {
        finish();
        reply.resolve(json);
      },
      reject: (error) => {
        finish();
        reply.reject(error);
      },
    });
    signal?.addEventListener("abort", onAbort, { once: true });
    this.nowWaiting();
    send(id);
    return reply.promise;
  }
  /** One of the rare calls, by name. */
  async call<T>(method: string, input: unknown = {}, signal?: AbortSignal): Promise<T> {
    return JSON.parse(await this.request((id) => this.core.call(id, method, JSON.stringify(input)), signal)) as T;
  }

  // ── what the core thread says (the rest of ToUser is the executor's) ────────────────────────────────────────────────────
  ready(requestId: number, index: number, located: Located): void {
    const request = this.gets.get(requestId);
    if (request === undefined) {
      if (located.kind === "stored") this.unpin(located.pinId);
      return;
    }
    (request.refs[index] as ObjectRef<unknown>).known = true;
    const preparing = request.mayPrepare ? this.preparationsOf([located]) : undefined;
    if (preparing === undefined) this.arrived(request, index, located);
    else
      preparing.then(
        () => this.arrived(request, index, located),
        (error: unknown) => request.done(error),
      );
  }

  private arrived(request: GetRequest, index: number, located: Located): void {
    try {
      request.results[index] = this.receive(request.refs[index] as ObjectRef<unknown>, located);
    } catch (error) {
      request.done(error);
      return;
    }
    request.left--;
    if (request.left === 0) request.done(undefined);
  }

  /**
   * Loads the modules that the classes and functions in values come from by `import()`, so that they are the very ones that the program has, whatever
   * loader it uses. Undefined when there is nothing to load. Stored values must be pinned.
   */
  preparationsOf(values: readonly (Located | undefined)[]): Promise<unknown> | undefined {
    let loads: Promise<void>[] | undefined;
    for (const value of values) {
      if (value === undefined || !this.codec.needsPreparation(this.lookAt(value, prefixLook))) continue;
      loads ??= [];
      const load = this.codec.prepare(this.lookAt(value, Number.POSITIVE_INFINITY));
      loads.push(value.kind === "failed" ? load.catch(() => undefined) : load); // the failure is told in any case, and its cause as far as it can be read
    }
    return loads === undefined ? undefined : Promise.all(loads);
  }

  private lookAt(value: Located, lengthMax: number): Uint8Array {
    if (value.kind === "stored") return this.arena.write(value.offset, Math.min(value.size, lengthMax));
    return value.kind === "value" ? value.value : value.failure.cause; // of a failure: the error that user code threw
  }

  reply(requestId: number, ok: boolean, json: string): void {
    const request = this.replies.get(requestId);
    if (request === undefined) return;
    if (ok) request.resolve(json);
    else request.reject(this.errorFromJson(json));
  }

  lost(failure: Failure): void {
    this.lostWith = failure;
    const error = this.errorOf(failure);
    for (const request of [...this.gets.values()]) request.done(error);
    for (const request of [...this.replies.values()]) request.reject(error);
  }

  errorOf(failure: Failure): TrayError {
    return errorOf(failure, (bytes) => this.codec.deserialize(bytes, noArgs, copied));
  }

  /** Reads a value once; a stored one's pin is given back when its memory is not seen any more. */
  read(located: Located): unknown {
    if (located.kind === "failed") throw this.errorOf(located.failure);
    if (located.kind === "value") return this.codec.deserialize(located.value, noArgs);
    const { pinId } = located;
    const view = this.arena.readPrivate(located.offset, located.size, { onUnmapped: () => this.unpin(pinId) });
    return this.codec.deserialize(new Uint8Array(view.buffer), noArgs);
  }

  /** Room is short in the object store: handles forget where their values are, so that only views that somebody can still reach keep them there. */
  forgetPlaces(): void {
    for (const handle of this.places.values()) {
      const ref = handle.deref();
      if (ref?.cached?.kind === "stored") ref.cached = undefined;
    }
    this.places.clear();
  }

  unpin(pinId: number): void {
    this.places.delete(pinId);
    this.unpinned.push(pinId);
    this.scheduleDrops();
  }

  /** Sends releases that were only noted. */
  flushDropped(): void {
    if (this.dropped.length > 0) {
      const slots = this.dropped;
      this.dropped = [];
      if (!this.closed) this.core.release(slots);
      for (const slot of slots) this.freeSlots.push(slot); // N1
    }
    if (this.unpinned.length > 0) {
      const pins = this.unpinned;
      this.unpinned = [];
      if (!this.closed) this.core.unpin(pins);
    }
  }

  private receive(ref: ObjectRef<unknown>, located: Located): unknown {
    if (located.kind === "failed") throw this.errorOf(located.failure);
    if (located.kind === "value") {
      if (!ref.isReleased) ref.cached = located;
      return this.readCached(located);
    }
    if (ref.isReleased) return this.read(located);
    // The place stays pinned while the handle or a view of it lives, so that further reads need not ask; each maps it anew (N2).
    ref.cached = located;
    this.places.set(located.pinId, new WeakRef(ref));
    this.pinGarbage.register(located, located.pinId);
    return this.readCached(located);
  }

  private readCached(cached: CachedValue): unknown {
    if (cached.kind === "value") {
      const { value } = cached;
      return this.codec.deserialize(value, noArgs, copied);
    }
    // The closure keeps `cached`, and with it the pin, for as long as the memory can be seen.
    const view = this.arena.readPrivate(cached.offset, cached.size, { onUnmapped: () => void cached.pinId });
    return this.codec.deserialize(new Uint8Array(view.buffer), noArgs);
  }

  private errorFromJson(json: string): TrayError {
    const failure = JSON.parse(json) as Failure;
    const details = failure.detailsJson === "" ? undefined : (JSON.parse(failure.detailsJson) as { causeBase64?: string });
    return this.errorOf({ ...failure, cause: Buffer.from(details?.causeBase64 ?? "", "base64") });
  }

  private checkOpen(): void {
    if (this.closed)
      throw publicError("CONNECTION", "tray is shut down in this process", {
        hint: "call tray.init() to connect again; handles of the earlier connection stay invalid",
      });
    if (this.lostWith !== undefined) throw this.errorOf(this.lostWith);
  }
  private endGet(id: number, request: GetRequest, forget: boolean): void {
    request.settled = true;
    if (this.gets.delete(id)) this.noLongerWaiting();
    if (forget && !this.closed) this.core.forget(id);
  }
  private takeRequest(): number {
    this.nextRequest = (this.nextRequest + 1) >>> 0 || 1;
    return this.nextRequest;
  }
  private nowWaiting(): void {
    if (this.waiting++ === 0) this.channel.ref(); // N3
  }
  private noLongerWaiting(): void {
    if (--this.waiting === 0) this.channel.unref();
  }
  private scheduleDrops(): void {
    if (this.dropScheduled) return;
    this.dropScheduled = true;
    this.clock.after(1, () => {
      this.dropScheduled = false;
      this.flushDropped();
    });
  }
}

function timeoutError(refs: readonly ObjectRef<unknown>[], timeoutMs: number): TrayError {
  const what = refs.length === 1 ? (refs[0] as ObjectRef<unknown>).toString() : `${refs.length} objects`;
  return publicError("GET_TIMEOUT", `get of ${what} was not done after ${timeoutMs} ms; the task goes on`, {
    hint: "tray status shows what waits, and for what",
  });
}
