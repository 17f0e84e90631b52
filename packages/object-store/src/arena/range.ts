// What every arena does alike: checking ranges, and reading by copy.
import { TrayError } from "@tray/common";
import type { PrivateView, ReadOptions } from "./arena.js";

/** @throws INVALID_ARGUMENT unless [offset, offset + length) lies in the arena. */
export function checkRange(arena: { readonly capacity: number; readonly path: string }, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= arena.capacity) return;
  throw new TrayError("INVALID_ARGUMENT", `${length} bytes at ${offset} are not in the arena ${arena.path} of ${arena.capacity} bytes`);
}

/** A private view whose buffer the garbage collector owns altogether (copied), or whose mapping follows it (mapped). */
export class HeldView implements PrivateView {
  constructor(
    private held: ArrayBuffer | undefined,
    readonly mapped: boolean,
  ) {}
  get buffer(): ArrayBuffer {
    if (this.held === undefined) throw new TrayError("INVALID_ARGUMENT", "this view was released");
    return this.held;
  }
  release(): void {
    this.held = undefined;
  }
}

/** Copies `shared`; nothing of the arena is looked at afterwards, so the pin may go at once. */
export function copiedView(shared: Uint8Array, options: ReadOptions): PrivateView {
  const copy = new ArrayBuffer(shared.byteLength);
  new Uint8Array(copy).set(shared);
  options.onUnmapped?.();
  return new HeldView(copy, false);
}
