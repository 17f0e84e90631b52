// ObjectRefGenerator: the consumer's end of a streaming task.
import type { ObjectRef } from "./object-ref.js";

export const objectRefGeneratorBrand: unique symbol = Symbol.for("tray.ObjectRefGenerator") as never;

/** What the consumer's end needs of its runtime. */
export interface GeneratorHost {
  releaseSlot(slot: number): void;
  /** Calls `releaseSlot(slot)` when `generator` is garbage. */
  track(generator: object, slot: number): void;
  untrack(generator: object): void;
  /** The next item, when there is one; undefined after the last. */
  nextItem(streamSlot: number, number: number): Promise<ObjectRef<unknown> | undefined>;
}

/**
 * The items of a generator that runs elsewhere, as references, in order, each as soon as it is yielded:
 *
 *   for await (const ref of pages.remote(url)) console.log(await tray.get(ref));
 *
 * What the generator throws, or why the task failed, is the last item: `get` of it rejects. Taking an item lets the generator make another
 * (`generatorBackpressureNumObjects`). Leaving the loop, `return()`, `release()`, the end of a `using` block or garbage collection cancel the task:
 * the generator is made to return, items that were not taken are freed; those that were taken stay. It belongs to the process that made the call.
 */
export class ObjectRefGenerator<T> implements AsyncIterable<ObjectRef<T>> {
  declare readonly [objectRefGeneratorBrand]: T;
  /** @internal */ readonly slot: number;
  /** @internal */ readonly number: number;
  /** @internal */ known = false;
  private readonly host: GeneratorHost;
  private released = false;

  /** @internal Made by `remote()`. */
  constructor(host: GeneratorHost, slot: number, number: number) {
    this.host = host;
    this.slot = slot;
    this.number = number;
    host.track(this, slot);
  }

  /** Waits for the next item. Calls may overlap: they are answered in order. @throws when the connection to the cluster is lost. */
  async next(): Promise<IteratorResult<ObjectRef<T>, undefined>> {
    if (this.released) return { done: true, value: undefined };
    const ref = await this.host.nextItem(this.slot, this.number);
    if (ref !== undefined) return { done: false, value: ref as ObjectRef<T> };
    this.release();
    return { done: true, value: undefined };
  }

  /** Cancels the task if it still runs. */
  return(): Promise<IteratorResult<ObjectRef<T>, undefined>> {
    this.release();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The same, for those who do not iterate with `for await`. Idempotent. */
  release(): void {
    if (this.released) return;
    this.released = true;
    this.host.untrack(this);
    this.host.releaseSlot(this.slot);
  }
  get isReleased(): boolean {
    return this.released;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
  [Symbol.dispose](): void {
    this.release();
  }
  [Symbol.asyncDispose](): Promise<void> {
    this.release();
    return Promise.resolve();
  }

  toString(): string {
    return `ObjectRefGenerator(task ${this.number})`;
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

Object.defineProperty(ObjectRefGenerator.prototype, objectRefGeneratorBrand, { value: true });

export function isObjectRefGenerator(value: unknown): value is ObjectRefGenerator<unknown> {
  return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[objectRefGeneratorBrand] === true;
}
