import { TrayError } from "@tray/common";
import type { Arena, PrivateView, ReadOptions } from "./arena.js";
import { checkRange, copiedView } from "./range.js";

/** An arena in this process's memory alone: simulations, tests, a cluster of one process. Private reads are copies. */
export class MemoryArena implements Arena {
  private memory: ArrayBuffer | undefined;

  constructor(
    readonly capacity: number,
    readonly path = "memory:",
  ) {
    this.memory = new ArrayBuffer(capacity);
  }

  write(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length);
    if (this.memory === undefined) throw new TrayError("UNAVAILABLE", `the arena ${this.path} is closed`);
    return new Uint8Array(this.memory, offset, length);
  }

  readPrivate(offset: number, length: number, options: ReadOptions = {}): PrivateView {
    return copiedView(this.write(offset, length), options);
  }

  async prepare(offset: number, length: number): Promise<void> {
    checkRange(this, offset, length);
  }

  close(): void {
    this.memory = undefined;
  }
}
