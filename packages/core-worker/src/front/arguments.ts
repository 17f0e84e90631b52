// Argument lists as they travel: references at the top level by slot, large values as objects of their own, the rest in one flat value.
import { type Codec, flatten, type Serialized } from "@tray/serialization";
import { slotOf } from "./holdings.js";
import { isObjectRef, type ObjectRef } from "./object-ref.js";

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
/** Of values that are no argument lists. */
export const noArguments: ReadContext = Object.freeze({ args: Object.freeze([]) });

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

export class ArgumentPacker {
  private emptyList: Uint8Array | undefined;

  constructor(
    private readonly codec: Codec,
    private readonly maxInlineBytes: number,
    /** Makes an object of an argument. */
    private readonly putLarge: (value: Serialized, held: readonly number[]) => ObjectRef<unknown>,
  ) {}

  /** Serializes an argument list now; later changes of the arguments are not seen. */
  pack(args: readonly unknown[]): PackedArguments {
    if (args.length === 0) {
      this.emptyList ??= flatten(this.codec.serialize([], { held: [] }));
      return { bytes: this.emptyList, argSlots: noSlots, heldSlots: noSlots, temporary: noRefs };
    }
    const argSlots: number[] = [];
    const held: number[] = [];
    let list: unknown[] | undefined;
    for (let i = 0; i < args.length; i++) {
      const arg = args[i];
      if (!isObjectRef(arg)) continue;
      list ??= [...args];
      list[i] = new ArgumentPlaceholder(argSlots.length);
      argSlots.push(slotOf(arg));
    }
    const serialized = this.codec.serialize(list ?? args, { held });
    const { maxInlineBytes } = this;
    if (serialized.byteLength <= maxInlineBytes) return { bytes: flatten(serialized), argSlots, heldSlots: held, temporary: noRefs };
    // Too much to travel with the task: the large ones become objects of their own.
    const temporary: ObjectRef<unknown>[] = [];
    list ??= [...args];
    for (let i = 0; i < list.length; i++) {
      if (list[i] instanceof ArgumentPlaceholder) continue;
      const inner: number[] = [];
      const one = this.codec.serialize(list[i], { held: inner });
      if (one.byteLength <= maxInlineBytes / 4) continue;
      const ref = this.putLarge(one, inner);
      temporary.push(ref);
      list[i] = new ArgumentPlaceholder(argSlots.length);
      argSlots.push(ref.slot);
    }
    const rest: number[] = [];
    return { bytes: flatten(this.codec.serialize(list, { held: rest })), argSlots, heldSlots: rest, temporary };
  }
}
