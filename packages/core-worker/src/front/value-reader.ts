// ValueReader: makes values, and errors, of what the core thread says where to find.
//
// Owns:     the pinned places that handles remember, private mappings of the arena.
// Not mine: what is asked for, and for whom (requests.ts); how the core hears that a pin is over (holdings.ts).
// Crosses:  in: Located, Failure.  out: values and errors; Holdings.unpin.
//
// Invariants
//   V1. two reads never share memory: inline bytes are copied where they could be viewed, stored ones are mapped privately each time.
//   V2. a place stays pinned while a handle remembers it or a view of it can be reached, and is unpinned once.
import type { TrayError } from "@tray/common";
import type { Arena } from "@tray/object-store";
import type { Codec } from "@tray/serialization";
import type { Failure, Located } from "../thread/to-user.js";
import { noArguments } from "./arguments.js";
import { errorOf } from "./errors.js";
import type { Holdings } from "./holdings.js";
import type { CachedValue, ObjectRef } from "./object-ref.js";

const copied = Object.freeze({ copyBuffers: true });
/** Bytes of a stored value that tell whether it needs preparation. */
const prefixLook = 64;

export class ValueReader {
  /** Handles that keep the place of their value, by pin. */
  private readonly places = new Map<number, WeakRef<ObjectRef<unknown>>>();
  private readonly garbage = new FinalizationRegistry<number>((pinId) => this.unpin(pinId));

  constructor(
    private readonly codec: Codec,
    private readonly arena: Arena,
    private readonly holdings: Holdings,
  ) {}

  /** Reads a value once; a stored one's pin is given back when its memory is not seen any more. @throws what the object failed with */
  read(located: Located): unknown {
    if (located.kind === "failed") throw this.errorOf(located.failure);
    if (located.kind === "value") return this.codec.deserialize(located.value, noArguments);
    const { pinId } = located;
    const view = this.arena.readPrivate(located.offset, located.size, { onUnmapped: () => this.unpin(pinId) });
    return this.codec.deserialize(new Uint8Array(view.buffer), noArguments);
  }

  /** Reads a value for its handle, which remembers where it is so that further reads need not ask. @throws what the object failed with */
  readFor(ref: ObjectRef<unknown>, located: Located): unknown {
    if (located.kind === "failed") throw this.errorOf(located.failure);
    if (located.kind === "value") {
      if (!ref.isReleased) ref.cached = located;
      return this.readCached(located);
    }
    if (ref.isReleased) return this.read(located);
    // The place stays pinned while the handle or a view of it lives (V2); each read maps it anew (V1).
    ref.cached = located;
    this.places.set(located.pinId, new WeakRef(ref));
    this.garbage.register(located, located.pinId);
    return this.readCached(located);
  }

  readCached(cached: CachedValue): unknown {
    if (cached.kind === "value") {
      const { value } = cached;
      return this.codec.deserialize(value, noArguments, copied);
    }
    // The closure keeps `cached`, and with it the pin, for as long as the memory can be seen.
    const view = this.arena.readPrivate(cached.offset, cached.size, { onUnmapped: () => void cached.pinId });
    return this.codec.deserialize(new Uint8Array(view.buffer), noArguments);
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

  errorOf(failure: Failure): TrayError {
    return errorOf(failure, (bytes) => this.codec.deserialize(bytes, noArguments, copied));
  }

  /** Room is short in the object store: handles forget where their values are, so that only views that somebody can still reach keep them there. */
  forgetPlaces(): void {
    for (const handle of this.places.values()) {
      const ref = handle.deref();
      if (ref?.cached?.kind === "stored") ref.cached = undefined;
    }
    this.places.clear();
  }

  /** `cleanup` runs the finalizers of what was collected, for a thread that blocks. */
  finalize(cleanup: (registry: FinalizationRegistry<number>) => void): void {
    cleanup(this.garbage);
  }

  /** A stored value will not be read: it was asked for by nobody who still waits. */
  unpin(pinId: number): void {
    this.places.delete(pinId);
    this.holdings.unpin(pinId);
  }

  private lookAt(value: Located, lengthMax: number): Uint8Array {
    if (value.kind === "stored") return this.arena.write(value.offset, Math.min(value.size, lengthMax));
    return value.kind === "value" ? value.value : value.failure.cause; // of a failure: the error that user code threw
  }
}
