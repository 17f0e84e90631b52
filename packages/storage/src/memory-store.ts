// MemoryStore: the store of simulations. What was committed lives in a MemoryDisk, which outlives the store as a disk outlives a process.
//
// Owns:     the batches in flight.
// Not mine: the disk's contents (MemoryDisk; one open store at a time).
// Crosses:  in: commit, crash, close.
//
// Invariants
//   M1. A batch reaches the disk whole, half of `commitDelayMs` after its turn, and is acknowledged the other half later. A crash in the first
//       half loses it; a crash in the second keeps it though nobody was told. Both happen to real stores.
//   M2. After crash() nothing reaches the disk from this store, and no promise of it settles.
import { type Clock, invariant, sleep, TrayError } from "@tray/common";
import { CommitQueue } from "./commit-queue.js";
import type { EntriesOptions, Store, Table } from "./store.js";
import type { WriteBatch, WriteOp } from "./write-batch.js";

/** Tables that survive a simulated crash. */
export class MemoryDisk {
  private readonly tables = new Map<string, MemoryTable>();
  private usedBytes = 0;
  /** @param capacityBytes keys and values beyond it fail a commit with OUT_OF_DISK. Default: no limit. */
  constructor(private readonly capacityBytes = Number.POSITIVE_INFINITY) {}

  table(name: string): MemoryTable {
    let table = this.tables.get(name);
    if (table === undefined) this.tables.set(name, (table = new MemoryTable(name)));
    return table;
  }

  /** All of them or, when they do not fit, none. */
  apply(ops: readonly WriteOp[]): void {
    const last = new Map<string, WriteOp>();
    for (const op of ops) last.set(`${op.table}\u0000${op.key}`, op);
    let growth = 0;
    for (const op of last.values()) growth += sizeOf(op.key, op.value) - sizeOf(op.key, this.table(op.table).peek(op.key));
    if (growth > 0 && this.usedBytes + growth > this.capacityBytes)
      throw new TrayError("OUT_OF_DISK", `the simulated disk of ${this.capacityBytes} bytes is full`);
    this.usedBytes += growth;
    for (const op of last.values()) this.table(op.table).set(op.key, op.value);
  }
}

function sizeOf(key: string, value: Uint8Array | undefined): number {
  return value === undefined ? 0 : Buffer.byteLength(key) + value.byteLength;
}

class MemoryTable implements Table {
  private readonly values = new Map<string, Uint8Array>();
  /** Keys in order, made on demand: a simulation reads ranges at restarts and writes all the time. */
  private sorted: string[] | undefined;
  constructor(readonly name: string) {}

  get(key: string): Uint8Array | undefined {
    return this.values.get(key)?.slice();
  }
  *entries(options: EntriesOptions = {}): Iterable<[string, Uint8Array]> {
    this.sorted ??= [...this.values.keys()].sort(compareUtf8);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    for (const key of this.sorted) {
      if (left <= 0) return;
      if (options.start !== undefined && compareUtf8(key, options.start) < 0) continue;
      if (options.prefix !== undefined && !key.startsWith(options.prefix)) continue;
      const value = this.values.get(key);
      if (value === undefined) continue;
      left--;
      yield [key, value.slice()];
    }
  }
  peek(key: string): Uint8Array | undefined {
    return this.values.get(key);
  }
  set(key: string, value: Uint8Array | undefined): void {
    if (value === undefined) this.values.delete(key);
    else this.values.set(key, value.slice());
    this.sorted = undefined;
  }
}

/** Orders strings as their UTF-8 bytes are ordered, which UTF-16 code units do not for surrogate pairs. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return utf8Rank(x) - utf8Rank(y);
  }
  return a.length - b.length;
}

function utf8Rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000; // surrogates stand for code points above U+FFFF
}

export interface MemoryStoreOptions {
  clock: Clock;
  /** Give the same disk to the store that follows a crash. Default: a new one. */
  disk?: MemoryDisk;
  /** From the end of the turn to the acknowledgement. Default 1 ms. */
  commitDelayMs?: number;
  /** Default 1 GiB. */
  pendingBytesMax?: number;
}

export class MemoryStore implements Store {
  readonly disk: MemoryDisk;
  private state: "open" | "closing" | "crashed" = "open";
  private readonly queue: CommitQueue;

  constructor(options: MemoryStoreOptions) {
    this.disk = options.disk ?? new MemoryDisk();
    const halfMs = (options.commitDelayMs ?? 1) / 2;
    const write = async (ops: readonly WriteOp[]): Promise<void> => {
      await sleep(options.clock, halfMs);
      if (this.state === "crashed") return; // M2
      this.disk.apply(ops);
      await sleep(options.clock, halfMs);
    };
    this.queue = new CommitQueue({ clock: options.clock, write, pendingBytesMax: options.pendingBytesMax ?? 2 ** 30 });
  }

  open(name: string): Table {
    invariant(this.state === "open", "open on a store that is closed");
    return this.disk.table(name);
  }
  commit(batch: WriteBatch): Promise<void> {
    if (this.state === "crashed") return new Promise(() => undefined); // M2
    if (this.state === "closing") return Promise.reject(new TrayError("UNAVAILABLE", "the store is closed"));
    return this.queue.submit(batch);
  }
  close(): Promise<void> {
    if (this.state === "open") this.state = "closing";
    return this.queue.drain();
  }
  /** The process ends here and now. */
  crash(): void {
    this.state = "crashed";
    this.queue.abandon();
  }
}
