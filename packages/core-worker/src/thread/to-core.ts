// What the user's thread tells the core (I/O) thread: the interface, its encoding, its decoding.
import type { ThreadChannel } from "./channel.js";
import { type RecordReader, RecordWriter } from "./record.js";

/** Options of a submitted template that concern the submitter only; the rest travels in `TaskTemplate`. */
export interface TemplateOptions {
  readonly functionId: string;
  readonly name: string;
  readonly numReturns: number;
  /** The function is a generator: `numReturns` is 1, the handle of the stream. */
  readonly streaming?: boolean | undefined;
  /** Streaming: the generator pauses at so many items that are not consumed; 0 = never. */
  readonly backpressure?: number | undefined;
  /** Fixed-point amounts. */
  readonly resources: Readonly<Record<string, number>>;
  readonly strategy?: { readonly kind: "spread" } | { readonly kind: "nodeAffinity"; readonly nodeId: string; readonly soft: boolean } | undefined;
  readonly labelSelector?: Readonly<Record<string, string>> | undefined;
  readonly maxRetries: number;
  /** Retry whatever the function throws. */
  readonly retryExceptions: boolean;
  /** Stored error classes whose instances are retried. */
  readonly retryClassesId?: string | undefined;
  readonly maxCalls?: number | undefined;
  readonly timeoutMs?: number | undefined;
  /** Actor calls. */
  readonly actorId?: string | undefined;
  readonly method?: string | undefined;
  readonly concurrencyGroup?: string | undefined;
}

/** A new actor as the user's thread describes it; amounts are fixed-point. */
export interface ActorCreation {
  readonly actorId: string;
  readonly className: string;
  readonly functionId: string;
  readonly name: string;
  readonly namespace: string;
  readonly getIfExists: boolean;
  readonly detached: boolean;
  readonly placementResources: Readonly<Record<string, number>>;
  readonly lifetimeResources: Readonly<Record<string, number>>;
  readonly strategy?: TemplateOptions["strategy"];
  readonly labelSelector?: Readonly<Record<string, string>> | undefined;
  readonly maxRestarts: number;
  readonly maxTaskRetries: number;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  readonly maxPendingCalls: number;
  readonly methods: readonly string[];
  /** Those of `methods` that are generators. */
  readonly streams: readonly string[];
}

/** How a task ended, as the user's thread saw it. */
export const outcomes = { ok: 0, error: 1, cancelled: 2, exitActor: 3, retryableError: 4 } as const;

export interface ReturnValue {
  /** Flat value, or undefined when it was written into the arena under the return's object id. */
  readonly value: Uint8Array | undefined;
  readonly size: number;
  /** Slots of references inside the value. */
  readonly contained: readonly number[];
}

/**
 * Slots are numbers that the user's thread gives to its handles (ObjectRef, ActorHandle); each handle has its own. Request ids are
 * numbers of the user's thread too; each is answered once by `reply` or, for gets, once per slot by `ready`.
 */
export interface ToCore {
  putFunction(functionId: string, blob: Uint8Array): void;
  defineTemplate(templateId: number, options: TemplateOptions): void;
  /** Return slots are firstSlot, firstSlot + 1, …; `argSlots` are top-level reference arguments in order; `heldSlots` are references inside values. */
  submit(
    templateId: number,
    number: number,
    firstSlot: number,
    parent: number,
    args: Uint8Array,
    argSlots: readonly number[],
    heldSlots: readonly number[],
  ): void;
  createActor(slot: number, creation: ActorCreation, args: Uint8Array, argSlots: readonly number[], heldSlots: readonly number[]): void;
  get(requestId: number, inTask: boolean, slots: readonly number[]): void;
  wait(requestId: number, inTask: boolean, numReturns: number, fetchLocal: boolean, slots: readonly number[]): void;
  /** The requester has lost interest (time-out, abort). No answer follows. */
  forget(requestId: number): void;
  put(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void;
  /** A put whose bytes the core writes into the arena: an argument too large to travel inline. `value` is given away. */
  putLarge(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void;
  /** Room in the arena for an object: reply is `{offset}` JSON. For puts `slot` is the new handle; for task returns `slot` is 0, `number` the execution and `objectId` is set. */
  create(requestId: number, slot: number, number: number, objectId: string, size: number, heldSlots: readonly number[]): void;
  seal(requestId: number, objectId: string): void;
  adopt(slot: number, objectId: string, ownerWorkerId: string, ownerNodeId: string, ownerEndpoint: string): void;
  release(slots: readonly number[]): void;
  unpin(pinIds: readonly number[]): void;
  /** Answers `execute`. `error` is the flat thrown value, when `outcome` is error. A stream returns the number of its items, 8 bytes. */
  finished(execId: number, outcome: number, durationUs: number, returns: readonly ReturnValue[], error: Uint8Array, errorMessage: string): void;
  /** One item of a streaming execution, in order. `objectId` is set when it was written into the arena. */
  yielded(execId: number, index: number, objectId: string, item: ReturnValue): void;
  /** The generator of an execution that took up after another waits for its consumer, before it has yielded anything new. */
  resting(execId: number): void;
  /** The next item of the stream whose handle is in `streamSlot`; `itemSlot` will hold it. Reply: `{index}`, or null after the last. */
  nextItem(requestId: number, inTask: boolean, streamSlot: number, itemSlot: number): void;
  cancel(slot: number, force: boolean, recursive: boolean): void;
  /** Everything rare: `method` with JSON arguments, answered by `reply` with JSON. */
  call(requestId: number, method: string, json: string): void;
}

const op = {
  putFunction: 1,
  defineTemplate: 2,
  submit: 3,
  createActor: 4,
  get: 5,
  wait: 6,
  forget: 7,
  put: 8,
  create: 9,
  seal: 10,
  adopt: 11,
  release: 12,
  unpin: 13,
  finished: 14,
  cancel: 15,
  call: 16,
  putLarge: 17,
  yielded: 18,
  nextItem: 19,
  resting: 20,
} as const;

/** The user's side: encodes and sends. */
export class ToCoreSender implements ToCore {
  private readonly w = new RecordWriter();
  constructor(private readonly channel: ThreadChannel) {}

  putFunction(functionId: string, blob: Uint8Array): void {
    this.w.reset(op.putFunction).text(functionId).data(blob);
    this.send();
  }
  defineTemplate(templateId: number, options: TemplateOptions): void {
    this.w.reset(op.defineTemplate).u32(templateId).text(JSON.stringify(options));
    this.send();
  }
  submit(
    templateId: number,
    number: number,
    firstSlot: number,
    parent: number,
    args: Uint8Array,
    argSlots: readonly number[],
    heldSlots: readonly number[],
  ): void {
    this.w.reset(op.submit).u32(templateId).f64(number).u32(firstSlot).u32(parent).data(args).list(argSlots).list(heldSlots);
    this.send();
  }
  createActor(slot: number, creation: ActorCreation, args: Uint8Array, argSlots: readonly number[], heldSlots: readonly number[]): void {
    this.w.reset(op.createActor).u32(slot).text(JSON.stringify(creation)).data(args).list(argSlots).list(heldSlots);
    this.send();
  }
  get(requestId: number, inTask: boolean, slots: readonly number[]): void {
    this.w
      .reset(op.get)
      .u32(requestId)
      .u8(inTask ? 1 : 0)
      .list(slots);
    this.send();
  }
  wait(requestId: number, inTask: boolean, numReturns: number, fetchLocal: boolean, slots: readonly number[]): void {
    this.w
      .reset(op.wait)
      .u32(requestId)
      .u8(inTask ? 1 : 0)
      .u32(numReturns)
      .u8(fetchLocal ? 1 : 0)
      .list(slots);
    this.send();
  }
  forget(requestId: number): void {
    this.w.reset(op.forget).u32(requestId);
    this.send();
  }
  put(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void {
    this.w.reset(op.put).u32(slot).f64(number).data(value).list(heldSlots);
    this.send();
  }
  putLarge(slot: number, number: number, value: Uint8Array, heldSlots: readonly number[]): void {
    this.w.reset(op.putLarge).u32(slot).f64(number).list(heldSlots).data(value);
    this.send();
  }
  create(requestId: number, slot: number, number: number, objectId: string, size: number, heldSlots: readonly number[]): void {
    this.w.reset(op.create).u32(requestId).u32(slot).f64(number).text(objectId).f64(size).list(heldSlots);
    this.send();
  }
  seal(requestId: number, objectId: string): void {
    this.w.reset(op.seal).u32(requestId).text(objectId);
    this.send();
  }
  adopt(slot: number, objectId: string, ownerWorkerId: string, ownerNodeId: string, ownerEndpoint: string): void {
    this.w.reset(op.adopt).u32(slot).text(objectId).text(ownerWorkerId).text(ownerNodeId).text(ownerEndpoint);
    this.send();
  }
  release(slots: readonly number[]): void {
    this.w.reset(op.release).list(slots);
    this.send();
  }
  unpin(pinIds: readonly number[]): void {
    this.w.reset(op.unpin).list(pinIds);
    this.send();
  }
  finished(execId: number, outcome: number, durationUs: number, returns: readonly ReturnValue[], error: Uint8Array, errorMessage: string): void {
    const w = this.w.reset(op.finished).u32(execId).u8(outcome).u32(durationUs).u32(returns.length);
    for (let i = 0; i < returns.length; i++) this.returned(returns[i] as ReturnValue);
    w.data(error).text(errorMessage);
    this.send();
  }
  yielded(execId: number, index: number, objectId: string, item: ReturnValue): void {
    this.w.reset(op.yielded).u32(execId).u32(index).text(objectId);
    this.returned(item);
    this.send();
  }
  resting(execId: number): void {
    this.w.reset(op.resting).u32(execId);
    this.send();
  }
  nextItem(requestId: number, inTask: boolean, streamSlot: number, itemSlot: number): void {
    this.w
      .reset(op.nextItem)
      .u32(requestId)
      .u8(inTask ? 1 : 0)
      .u32(streamSlot)
      .u32(itemSlot);
    this.send();
  }
  cancel(slot: number, force: boolean, recursive: boolean): void {
    this.w
      .reset(op.cancel)
      .u32(slot)
      .u8(force ? 1 : 0)
      .u8(recursive ? 1 : 0);
    this.send();
  }
  call(requestId: number, method: string, json: string): void {
    this.w.reset(op.call).u32(requestId).text(method).text(json);
    this.send();
  }

  private returned({ value, size, contained }: ReturnValue): void {
    this.w.u8(value === undefined ? 1 : 0);
    if (value === undefined) this.w.f64(size);
    else this.w.data(value);
    this.w.list(contained);
  }
  private send(): void {
    this.channel.send(this.w.bytes, this.w.length);
    this.w.trim();
  }
}

function readReturn(r: RecordReader): ReturnValue {
  if (r.u8() === 1) return { value: undefined, size: r.f64(), contained: r.list() };
  const value = r.data();
  return { value, size: value.length, contained: r.list() };
}

/** The core's side: decodes one record and calls `core`. */
export function dispatchToCore(r: RecordReader, memory: Buffer, start: number, core: ToCore): void {
  switch (r.start(memory, start)) {
    case op.submit:
      core.submit(r.u32(), r.f64(), r.u32(), r.u32(), r.data(), r.list(), r.list());
      break;
    case op.finished: {
      const execId = r.u32();
      const outcome = r.u8();
      const durationUs = r.u32();
      const count = r.u32();
      const returns: ReturnValue[] = [];
      for (let i = 0; i < count; i++) returns.push(readReturn(r));
      core.finished(execId, outcome, durationUs, returns, r.data(), r.text());
      break;
    }
    case op.get:
      core.get(r.u32(), r.u8() === 1, r.list());
      break;
    case op.release:
      core.release(r.list());
      break;
    case op.put:
      core.put(r.u32(), r.f64(), r.data(), r.list());
      break;
    case op.wait:
      core.wait(r.u32(), r.u8() === 1, r.u32(), r.u8() === 1, r.list());
      break;
    case op.forget:
      core.forget(r.u32());
      break;
    case op.yielded:
      core.yielded(r.u32(), r.u32(), r.text(), readReturn(r));
      break;
    case op.resting:
      core.resting(r.u32());
      break;
    case op.nextItem:
      core.nextItem(r.u32(), r.u8() === 1, r.u32(), r.u32());
      break;
    case op.putFunction:
      core.putFunction(r.text(), r.data());
      break;
    case op.defineTemplate:
      core.defineTemplate(r.u32(), JSON.parse(r.text()) as TemplateOptions);
      break;
    case op.createActor:
      core.createActor(r.u32(), JSON.parse(r.text()) as ActorCreation, r.data(), r.list(), r.list());
      break;
    case op.create:
      core.create(r.u32(), r.u32(), r.f64(), r.text(), r.f64(), r.list());
      break;
    case op.putLarge: {
      const slot = r.u32();
      const number = r.f64();
      const held = r.list();
      core.putLarge(slot, number, r.data(), held);
      break;
    }
    case op.seal:
      core.seal(r.u32(), r.text());
      break;
    case op.adopt:
      core.adopt(r.u32(), r.text(), r.text(), r.text(), r.text());
      break;
    case op.unpin:
      core.unpin(r.list());
      break;
    case op.cancel:
      core.cancel(r.u32(), r.u8() === 1, r.u8() === 1);
      break;
    case op.call:
      core.call(r.u32(), r.text(), r.text());
      break;
    default:
      throw new Error(`unknown record ${memory[start]} for the core thread`);
  }
}
