// Runtime: the user's half of a driver or worker. What the public API does, it does here: submitting, put, get, wait.
//
// Owns:     numbers of submissions and templates, whose code runs now, for which job.
// Not mine: slots and pins (holdings.ts), answers (requests.ts), values (value-reader.ts), argument lists (arguments.ts); anything that happens elsewhere
//           (the core thread's), running tasks (user-executor.ts), parsing options (options.ts).
// Crosses:  out: ToCore.
//
// Invariants
//   N1. numbers of submissions are never used twice: the ids of tasks and objects are made of them.
import { type Clock, TrayError } from "@tray/common";
import type { Arena } from "@tray/object-store";
import { indexOfObject, numberOfObject, objectIdOf, prefixOfObject } from "@tray/protocol";
import { type Codec, flatten, type Serialized, writeFlat } from "@tray/serialization";
import type { ThreadChannel } from "../thread/channel.js";
import type { ToCore } from "../thread/to-core.js";
import { ArgumentPacker, type PackedArguments } from "./arguments.js";
import type { Connection } from "./connection.js";
import { publicError } from "./errors.js";
import { Holdings, slotOf } from "./holdings.js";
import { type GeneratorHost, ObjectRefGenerator } from "./object-ref-generator.js";
import { isObjectRef, ObjectRef, type OwnerAddress, type RefHost } from "./object-ref.js";
import { OpenRequests } from "./requests.js";
import { ValueReader } from "./value-reader.js";

/** A reference, or the end of a stream. */
export type Waitable = ObjectRef<unknown> | ObjectRefGenerator<unknown>;

const noSlots: readonly number[] = Object.freeze([]);

export class Runtime implements RefHost, GeneratorHost {
  readonly holdings: Holdings;
  readonly values: ValueReader;
  readonly requests: OpenRequests;
  private readonly packer: ArgumentPacker;
  private nextNumber = 0;
  private nextTemplate = 0;
  private prefix = "";
  /** The execution whose code runs now; 0 in a driver. */
  currentExec = 0;
  currentJobId = "";
  currentNamespace = "";
  /** This thread waits in getSync: it hears of what happens, and its event loop does not turn. */
  isBlocked = false;

  constructor(
    readonly core: ToCore,
    private readonly channel: Pick<ThreadChannel, "ref" | "unref" | "blockAndDrain">,
    readonly codec: Codec,
    private readonly arena: Arena,
    readonly clock: Clock,
    readonly connection: Connection,
  ) {
    this.holdings = new Holdings(core, clock);
    this.values = new ValueReader(codec, arena, this.holdings);
    this.requests = new OpenRequests(core, channel, this.values);
    this.packer = new ArgumentPacker(codec, connection.maxInlineBytes, (value, held) => this.putThroughCore(value, held));
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
    this.core.put(this.holdings.takeSlot(), ++this.nextNumber, bytes, slots); // an object that contains them and is never released
  }
  /** Nothing is asked or released any more; what was asked still gets its answer. */
  close(): void {
    this.requests.close();
    this.holdings.close();
  }

  // ── handles ────────────────────────────────────────────────────────────────────────────────────────────────────────────
  track(handle: object, slot: number): void {
    this.holdings.track(handle, slot);
  }
  untrack(handle: object): void {
    this.holdings.untrack(handle);
  }
  releaseSlot(slot: number): void {
    this.holdings.release(slot);
  }

  /** A slot for a reference or counted handle that arrived inside a value. */
  adoptSlot(objectId: string, owner: OwnerAddress): number {
    this.requests.checkOpen();
    const slot = this.holdings.takeSlot();
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
  takeTemplate(): number {
    return ++this.nextTemplate;
  }

  /** `alsoHeld`: slot of the actor's handle, for calls; 0 = none. */
  submit(templateId: number, numReturns: number, args: readonly unknown[], alsoHeld: number): ObjectRef<unknown>[] {
    const packed = this.packArguments(args);
    const number = ++this.nextNumber;
    // The core binds firstSlot, firstSlot + 1, …: several returns need slots in a row.
    const firstSlot = numReturns === 1 ? this.holdings.takeSlot() : this.holdings.takeRow(numReturns);
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
    const slot = this.holdings.takeSlot();
    const held = alsoHeld === 0 ? packed.heldSlots : [...packed.heldSlots, alsoHeld];
    this.core.submit(templateId, number, slot, this.currentExec, packed.bytes, packed.argSlots, held);
    for (const ref of packed.temporary) ref.release();
    return new ObjectRefGenerator(this, slot, number);
  }

  async nextItem(streamSlot: number, number: number): Promise<ObjectRef<unknown> | undefined> {
    this.requests.checkOpen();
    const slot = this.holdings.takeSlot();
    const taken = JSON.parse(await this.requests.request((id) => this.core.nextItem(id, this.currentExec !== 0, streamSlot, slot))) as {
      index: number;
    } | null;
    if (taken === null) {
      this.holdings.release(slot);
      return undefined;
    }
    return new ObjectRef<unknown>(this, slot, number, taken.index, undefined, undefined);
  }

  packArguments(args: readonly unknown[]): PackedArguments {
    this.requests.checkOpen();
    return this.packer.pack(args);
  }

  // ── put ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
  async put(value: unknown): Promise<ObjectRef<unknown>> {
    this.requests.checkOpen();
    if (isObjectRef(value)) {
      throw new TrayError("INVALID_ARGUMENT", "put of an ObjectRef: it is a reference already", {
        hint: "pass it on as it is, or wrap it in an array to store the reference itself",
      });
    }
    const held: number[] = [];
    const serialized = this.codec.serialize(value, { held });
    const slot = this.holdings.takeSlot();
    const number = ++this.nextNumber;
    if (serialized.byteLength <= this.connection.maxInlineBytes) {
      const bytes = flatten(serialized);
      this.core.put(slot, number, bytes, held);
      const ref = new ObjectRef<unknown>(this, slot, number, 0, undefined, undefined);
      ref.cached = { kind: "value", value: bytes };
      ref.known = true;
      return ref;
    }
    const created = this.requests.request((id) => this.core.create(id, slot, number, "", serialized.byteLength, held));
    const ref = new ObjectRef<unknown>(this, slot, number, 0, undefined, undefined);
    const { objectId, offset } = JSON.parse(await created) as { objectId: string; offset: number };
    writeFlat(serialized, this.arena.write(offset, serialized.byteLength));
    await this.requests.request((id) => this.core.seal(id, objectId));
    ref.known = true;
    return ref;
  }

  /** Stores a task's return value in the arena under its own id. */
  async storeReturn(execId: number, taskId: string, index: number, value: unknown): Promise<{ size: number; held: number[] }> {
    const held: number[] = [];
    const serialized = this.codec.serialize(value, { held });
    const size = serialized.byteLength;
    const objectId = objectIdOf(taskId, index);
    const created = JSON.parse(await this.requests.request((id) => this.core.create(id, 0, execId, objectId, size, noSlots))) as {
      offset: number;
      exists: boolean;
    };
    if (created.exists) return { size, held }; // an earlier attempt on this node had stored it
    writeFlat(serialized, this.arena.write(created.offset, size));
    await this.requests.request((id) => this.core.seal(id, objectId));
    return { size, held };
  }

  private putThroughCore(value: Serialized, held: readonly number[]): ObjectRef<unknown> {
    const slot = this.holdings.takeSlot();
    const number = ++this.nextNumber;
    this.core.putLarge(slot, number, flatten(value), held);
    return new ObjectRef(this, slot, number, 0, undefined, undefined);
  }

  // ── get and wait ───────────────────────────────────────────────────────────────────────────────────────────────────────
  get(refs: readonly ObjectRef<unknown>[], timeoutMs: number | undefined, signal: AbortSignal | undefined): Promise<unknown[]> {
    const isAnyCached = refs.some((ref) => ref.cached !== undefined);
    const preparing = isAnyCached ? this.values.preparationsOf(refs.map((ref) => ref.cached)) : undefined;
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
      const giveUp = this.requests.get(refs, results, this.currentExec !== 0, true, (error) => {
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
    const giveUp = this.requests.get([ref], results, this.currentExec !== 0, false, (error) => {
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
      this.isBlocked = true;
      try {
        this.channel.blockAndDrain(Math.min(left, 1000));
      } finally {
        this.isBlocked = false;
      }
    }
    if (failed !== undefined) throw failed as Error;
    return results[0];
  }

  /** For a thread that blocks: `cleanup` runs the finalizers of what was collected. */
  finalize(cleanup: (registry: FinalizationRegistry<number>) => void): void {
    this.values.finalize(cleanup);
    this.holdings.finalize(cleanup);
  }

  /** Which of `refs` are ready, once `numReturns` are or the time is over. */
  async wait(refs: readonly Waitable[], numReturns: number, timeoutMs: number | undefined, fetchLocal: boolean): Promise<boolean[]> {
    this.requests.checkOpen();
    const ready = new Array<boolean>(refs.length);
    const slots = new Array<number>(refs.length);
    let count = 0;
    for (let i = 0; i < refs.length; i++) {
      const ref = refs[i] as Waitable;
      slots[i] = slotOf(ref);
      ready[i] = ref.known;
      if (ref.known) count++;
    }
    if (count >= numReturns) return ready;
    let id = 0;
    const reply = this.requests.request((requestId) => {
      id = requestId;
      this.core.wait(requestId, this.currentExec !== 0, numReturns, fetchLocal, slots);
    });
    // What is ready by then is the answer to a wait that is forgotten.
    if (timeoutMs === 0) this.requests.forget(id);
    const timer = timeoutMs === undefined || timeoutMs === 0 ? undefined : this.clock.after(timeoutMs, () => this.requests.forget(id));
    const indices = JSON.parse(await reply) as number[];
    timer?.cancel();
    for (const index of indices) {
      ready[index] = true;
      if (fetchLocal) (refs[index] as Waitable).known = true;
    }
    return ready;
  }

  /** One of the rare calls, by name. */
  async call<T>(method: string, input: unknown = {}, signal?: AbortSignal): Promise<T> {
    return JSON.parse(await this.requests.request((id) => this.core.call(id, method, JSON.stringify(input)), signal)) as T;
  }
}

function timeoutError(refs: readonly ObjectRef<unknown>[], timeoutMs: number): TrayError {
  const what = refs.length === 1 ? (refs[0] as ObjectRef<unknown>).toString() : `${refs.length} objects`;
  return publicError("GET_TIMEOUT", `get of ${what} was not done after ${timeoutMs} ms; the task goes on`, {
    hint: "tray status shows what waits, and for what",
  });
}
