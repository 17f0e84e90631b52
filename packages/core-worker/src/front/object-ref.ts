// ObjectRef: a handle to a value that is, or will be, somewhere in the cluster.
import { objectIdOf } from "@tray/protocol";

export const objectRefBrand: unique symbol = Symbol.for("tray.ObjectRef") as never;

/** What a handle needs of its runtime. */
export interface RefHost {
  readonly taskPrefix: string;
  releaseSlot(slot: number): void;
  /** Calls `releaseSlot(slot)` when `ref` is garbage. */
  track(ref: object, slot: number): void;
  untrack(ref: object): void;
}

export interface OwnerAddress {
  readonly workerId: string;
  readonly nodeId: string;
  readonly endpoint: string;
}

/** Where this process can read the value without asking: inline bytes, or a pinned place in the arena. */
export type CachedValue =
  | { readonly kind: "value"; readonly value: Uint8Array }
  | { readonly kind: "stored"; readonly pinId: number; readonly offset: number; readonly size: number };

/**
 * A reference to an object. Pass it to tasks (top level: they get the value; nested: they get the reference), read it with `get`.
 * Not a promise and not thenable, on purpose: awaiting one by accident would fetch it.
 *
 * A reference keeps its object alive. It lets go with `release()`, at the end of a `using` block, or when it is garbage collected.
 */
export class ObjectRef<T> {
  declare readonly [objectRefBrand]: T;
  /** @internal */ readonly slot: number;
  /** @internal */ readonly number: number;
  /** @internal */ readonly index: number;
  /** @internal undefined: this process owns it. */ readonly owner: OwnerAddress | undefined;
  /** @internal */ cached: CachedValue | undefined = undefined;
  /** @internal Ready, and brought to this node: a wait need not ask. */ known = false;
  /** @internal The last wait that it was passed to: cheaper than a set of a thousand references in every wait. */ waitedIn = 0;
  private reads = 0;
  private readonly host: RefHost;
  private id: string | undefined;
  private released = false;

  /** @internal References are made by `remote()`, `put` and deserialization. */
  constructor(host: RefHost, slot: number, number: number, index: number, owner: OwnerAddress | undefined, id: string | undefined) {
    this.host = host;
    this.slot = slot;
    this.number = number;
    this.index = index;
    this.owner = owner;
    this.id = id;
    host.track(this, slot);
  }

  /** The object's id: 40 hexadecimal digits. */
  get hex(): string {
    this.id ??= objectIdOf(this.host.taskPrefix + this.number.toString(16).padStart(10, "0"), this.index);
    return this.id;
  }

  /** Lets go of the object now; a `get` that is under way still gets it. Using the reference afterwards throws. Idempotent. */
  release(): void {
    if (this.released) return;
    this.released = true;
    this.host.untrack(this);
    this.cached = undefined;
    if (this.reads === 0) this.host.releaseSlot(this.slot);
  }
  /** @internal A get begins. Until it ends the object stays, and so do those whose references are in its value: nobody else may hold them yet. */
  beginRead(): void {
    this.reads++;
  }
  /** @internal */
  endRead(): void {
    if (--this.reads === 0 && this.released) this.host.releaseSlot(this.slot);
  }
  get isReleased(): boolean {
    return this.released;
  }

  [Symbol.dispose](): void {
    this.release();
  }

  toString(): string {
    return `ObjectRef(${this.hex})`;
  }
  toJSON(): string {
    return this.toString();
  }
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

Object.defineProperty(ObjectRef.prototype, objectRefBrand, { value: true });

export function isObjectRef(value: unknown): value is ObjectRef<unknown> {
  return typeof value === "object" && value !== null && (value as Record<symbol, unknown>)[objectRefBrand] === true;
}
