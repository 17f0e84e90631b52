import { type Clock, sleep, TrayError } from "@tray/common";
import type { SpillItem, SpillStore } from "./store.js";

export interface MemorySpillStoreOptions {
  readonly clock: Clock;
  /** How long a write or read of so many bytes takes. Default: 0.2 ms + 2 ms a MiB. May change. */
  durationMs?: (bytes: number) => number;
  /** Bytes beyond which writes fail as on a full disk. Default: none. May change. */
  capacityBytes?: number;
  /** Asked before each write and read; an Error fails it with SYSTEM. May change. */
  fault?: (what: "write" | "read") => Error | undefined;
}

/** The disk of a simulated node: the same port, the same errors, time and faults by the simulation. */
export class MemorySpillStore implements SpillStore {
  private readonly items = new Map<number, Uint8Array>();
  private bytes = 0;
  private closed = false;
  constructor(readonly options: MemorySpillStoreOptions) {}

  get usedBytes(): number {
    return this.bytes;
  }
  get itemCount(): number {
    return this.items.size;
  }

  async write(items: readonly SpillItem[]): Promise<void> {
    const bytes = items.reduce((sum, item) => sum + item.bytes.byteLength, 0);
    await this.takeTime("write", bytes);
    if (this.bytes + bytes > (this.options.capacityBytes ?? Number.POSITIVE_INFINITY)) {
      throw new TrayError("OUT_OF_DISK", `no room for ${bytes} bytes in the spill store`);
    }
    for (const item of items) this.items.set(item.spillId, item.bytes.slice());
    this.bytes += bytes;
  }

  async read(spillId: number, offset: number, into: Uint8Array): Promise<void> {
    await this.takeTime("read", into.byteLength);
    const bytes = this.items.get(spillId);
    if (bytes === undefined || offset + into.byteLength > bytes.byteLength) throw new TrayError("NOT_FOUND", `nothing is spilled as ${spillId}`);
    into.set(bytes.subarray(offset, offset + into.byteLength));
  }

  delete(spillIds: readonly number[]): void {
    for (const spillId of spillIds) {
      this.bytes -= this.items.get(spillId)?.byteLength ?? 0;
      this.items.delete(spillId);
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    this.items.clear();
    this.bytes = 0;
  }

  private async takeTime(what: "write" | "read", bytes: number): Promise<void> {
    const { clock, durationMs, fault } = this.options;
    await sleep(clock, durationMs?.(bytes) ?? 0.2 + bytes / 2 ** 19);
    if (this.closed) throw new TrayError("UNAVAILABLE", "the spill store is closed");
    const error = fault?.(what);
    if (error !== undefined) throw new TrayError("SYSTEM", `spill store: ${error.message}`, { cause: error });
  }
}
