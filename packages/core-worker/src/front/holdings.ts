// Holdings: what the core thread holds for this one, by number: slots for handles, pins for places of values; and letting go of them.
//
// Owns:     the numbers of slots, the watch over handles for the garbage collector, what was let go of and is not said yet.
// Not mine: what a slot is bound to (runtime.ts), who still looks at a pinned place (value-reader.ts).
// Crosses:  in: handles and pins that nobody needs any more.  out: ToCore.release, ToCore.unpin, many at a time.
//
// Invariants
//   H1. a slot is in use from the message that binds it to the message that releases it; it is given out again only after that one was sent.
//   H2. what was let go of is said a millisecond later at the latest, whoever else lets go of something; never once the connection is closed.
import type { Clock } from "@tray/common";
import type { ToCore } from "../thread/to-core.js";
import { publicError } from "./errors.js";

/** A freed slot is reused only behind so many others. */
const slotQuarantine = 4096;
/** So many releases are sent at once. */
const releasesMax = 4096;

export class Holdings {
  private freeSlots: number[] = [];
  private freeHead = 0;
  private nextSlot = 1;
  private dropped: number[] = [];
  private unpinned: number[] = [];
  private flushScheduled = false;
  private closed = false;
  private readonly garbage = new FinalizationRegistry<number>((slot) => this.release(slot));

  constructor(
    private readonly core: Pick<ToCore, "release" | "unpin">,
    private readonly clock: Clock,
  ) {}

  takeSlot(): number {
    if (this.freeSlots.length - this.freeHead <= slotQuarantine) return this.nextSlot++;
    const slot = this.freeSlots[this.freeHead++] as number;
    if (this.freeHead >= 65_536) {
      this.freeSlots = this.freeSlots.slice(this.freeHead);
      this.freeHead = 0;
    }
    return slot;
  }
  /** The first of so many slots in a row. */
  takeRow(count: number): number {
    const first = this.nextSlot;
    this.nextSlot += count;
    return first;
  }

  /** Releases the slot when `handle` is garbage. */
  track(handle: object, slot: number): void {
    this.garbage.register(handle, slot, handle);
  }
  untrack(handle: object): void {
    this.garbage.unregister(handle);
  }

  /** `cleanup` runs the finalizers of what was collected, for a thread that blocks. */
  finalize(cleanup: (registry: FinalizationRegistry<number>) => void): void {
    cleanup(this.garbage);
  }

  release(slot: number): void {
    this.dropped.push(slot);
    if (this.dropped.length >= releasesMax) this.flush();
    else this.scheduleFlush();
  }
  unpin(pinId: number): void {
    this.unpinned.push(pinId);
    this.scheduleFlush();
  }

  /** Says what was only noted. */
  flush(): void {
    if (this.dropped.length > 0) {
      const slots = this.dropped;
      this.dropped = [];
      if (!this.closed) this.core.release(slots);
      for (const slot of slots) this.freeSlots.push(slot); // H1
    }
    if (this.unpinned.length > 0) {
      const pins = this.unpinned;
      this.unpinned = [];
      if (!this.closed) this.core.unpin(pins);
    }
  }

  /** Nothing is said from now on: nobody hears it. */
  close(): void {
    this.closed = true;
  }

  private scheduleFlush(): void {
    if (this.flushScheduled) return;
    this.flushScheduled = true;
    this.clock.after(1, () => {
      this.flushScheduled = false;
      this.flush();
    });
  }
}

/** @throws OBJECT_FREED when the handle was released. */
export function slotOf(handle: { readonly slot: number; readonly isReleased: boolean; toString(): string }): number {
  if (handle.isReleased) throw publicError("OBJECT_FREED", `${handle.toString()} was released; it cannot be used any more`);
  return handle.slot;
}
