// LmdbStore: tables in one LMDB environment, written by this process alone.
//
// Owns:     the environment and its files, the group in flight, the background flush.
// Not mine: grouping (commit-queue.ts), what the bytes mean.
// Crosses:  in: open, commit, close.
//
// Durability. An acknowledged commit has been handed to the operating system, so no death of this process loses it. What the death of the *machine*
// loses is the caller's choice:
//   "process"  acknowledged without waiting for the disk (some 20 µs). The file is flushed in the background, `flushDelayMs` after a commit. A power
//              failure within that time may lose those commits and, as the kernel writes pages in any order, damage the file.
//   "machine"  acknowledged after the disk has it (one fdatasync a group). Never loses or damages anything that was acknowledged.
//
// Invariants
//   L1. A group is one transaction: all of its operations or none. A failed one leaves file and environment usable.
//   L2. Small groups are written on this thread (a transaction costs less than a thread hop); large ones are committed by LMDB's own thread, so that
//       writing hundreds of megabytes does not stop the event loop for the disk's sake.
import { mkdirSync } from "node:fs";
import { type FileHandle, open as openFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, invariant, type Timer, TrayError } from "@tray/common";
import { type Database, open as openEnvironment, type RootDatabase, type TransactionFlags } from "lmdb";
import { CommitQueue } from "./commit-queue.js";
import { storeFailure } from "./failure.js";
import type { EntriesOptions, Store, Table } from "./store.js";
import { maxKeyBytes, type WriteBatch, type WriteOp } from "./write-batch.js";

export interface LmdbStoreOptions {
  /** A directory; made when missing, with mode 0700. One process at a time. */
  path: string;
  clock: Clock;
  /** Default "process". */
  durability?: "process" | "machine";
  /** "process": how long after a commit the file is flushed. Default 200 ms; `Infinity` never (for data that is worthless after a reboot). */
  flushDelayMs?: number;
  /** Groups up to this size are written on the calling thread. Default 256 KiB. */
  inlineBytesMax?: number;
  /** Address space reserved at first; grows by itself. Default 1 GiB. */
  mapSizeBytes?: number;
  /** Reader slots. Default 512. */
  readersMax?: number;
  /** Default 128. */
  tablesMax?: number;
  /** Default 1 GiB. */
  pendingBytesMax?: number;
  /** A background flush failed. Such commits were acknowledged; the next flush tries again. */
  onFlushError?: (error: unknown) => void;
}

// Abortable, committed when it returns, not flushed. (lmdb declares these as an enum in a type file only; there is no value to import.)
const inlineFlags = (0x1 | 0x2 | 0x10000) as TransactionFlags;

export class LmdbStore implements Store {
  private readonly environment: RootDatabase<Uint8Array, Buffer>;
  private readonly tables = new Map<string, LmdbTable>();
  private readonly queue: CommitQueue;
  private readonly durability: "process" | "machine";
  private flushTimer: Timer | undefined;
  private dataFile: FileHandle | undefined;
  private flushing: Promise<void> = Promise.resolve();
  private closing: Promise<void> | undefined;

  constructor(private readonly options: LmdbStoreOptions) {
    this.durability = options.durability ?? "process";
    mkdirSync(options.path, { recursive: true, mode: 0o700 });
    try {
      this.environment = openEnvironment({
        path: options.path,
        noSubdir: false,
        maxDbs: options.tablesMax ?? 128,
        maxReaders: options.readersMax ?? 512,
        mapSize: options.mapSizeBytes ?? 2 ** 30,
        noSync: this.durability === "process",
        overlappingSync: false, // its commits wait for the previous flush on the calling thread
        eventTurnBatching: false, // batches are grouped here, and lmdb's own grouping rejects a promise that nobody can catch
        ...binary,
      });
    } catch (error) {
      throw storeFailure(options.path, "open", error);
    }
    this.queue = new CommitQueue({
      clock: options.clock,
      write: (ops, bytes) => this.write(ops, bytes),
      pendingBytesMax: options.pendingBytesMax ?? 2 ** 30,
    });
  }

  open(name: string): Table {
    invariant(this.closing === undefined, "open on a store that is closed");
    let table = this.tables.get(name);
    if (table === undefined) {
      try {
        table = new LmdbTable(name, this.environment.openDB<Uint8Array, Buffer>({ name, ...binary }));
      } catch (error) {
        throw storeFailure(this.options.path, `open table ${name} of`, error);
      }
      this.tables.set(name, table);
    }
    return table;
  }

  commit(batch: WriteBatch): Promise<void> {
    if (this.closing !== undefined) return Promise.reject(new TrayError("UNAVAILABLE", `the store ${this.options.path} is closed`));
    return this.queue.submit(batch);
  }

  close(): Promise<void> {
    this.closing ??= this.doClose();
    return this.closing;
  }

  private async doClose(): Promise<void> {
    await this.queue.drain();
    this.flushTimer?.cancel();
    if (this.flushTimer !== undefined) this.flush();
    await this.flushing;
    await this.dataFile?.close();
    await this.environment.close();
  }

  private write(ops: readonly WriteOp[], bytes: number): Promise<void> | void {
    const apply = (): void => {
      for (const op of ops) {
        const table = this.tables.get(op.table);
        invariant(table !== undefined, () => `a batch names the table ${op.table}, which is not open`);
        if (op.value === undefined) table.database.removeSync(encodeKey(op.key));
        else table.database.putSync(encodeKey(op.key), op.value);
      }
    };
    if (this.durability === "machine" || bytes > (this.options.inlineBytesMax ?? 256 * 1024)) return this.writeOnThread(apply);
    try {
      this.environment.transactionSync(apply, inlineFlags); // L2
    } catch (error) {
      throw storeFailure(this.options.path, "write to", error);
    }
    this.scheduleFlush();
  }

  private async writeOnThread(apply: () => void): Promise<void> {
    try {
      await this.environment.childTransaction(apply); // a child, so that what `apply` throws undoes all of it: L1
    } catch (error) {
      // The reason of a failed commit comes later, as the rejection of a promise on the error.
      const reason = (error as { commitError?: Promise<never> }).commitError;
      throw storeFailure(this.options.path, "write to", reason === undefined ? error : await reason.catch((why: unknown) => why));
    }
    this.scheduleFlush();
  }

  private scheduleFlush(): void {
    const delayMs = this.options.flushDelayMs ?? 200;
    if (this.durability === "machine" || this.flushTimer !== undefined || delayMs === Number.POSITIVE_INFINITY) return;
    this.flushTimer = this.options.clock.after(delayMs, () => this.flush());
  }

  // fdatasync takes no lock of LMDB's, so commits go on during it; all that were made before it started are on the disk when it ends.
  private flush(): void {
    this.flushTimer = undefined;
    this.flushing = this.flushing
      .then(async () => {
        this.dataFile ??= await openFile(join(this.options.path, "data.mdb"), "r+");
        await this.dataFile.datasync();
      })
      .catch((error: unknown) => {
        this.options.onFlushError?.(error);
        if (this.closing === undefined) this.scheduleFlush();
      });
  }
}

// Keys as their UTF-8 bytes (the encoding lmdb has for strings gives some characters a second meaning) and values as they are.
const binary = { encoding: "binary", keyEncoding: "binary", cache: false } as const;

function encodeKey(key: string): Buffer {
  return Buffer.from(key, "utf8");
}

class LmdbTable implements Table {
  constructor(
    readonly name: string,
    readonly database: Database<Uint8Array, Buffer>,
  ) {}

  get(key: string): Uint8Array | undefined {
    const encoded = encodeKey(key);
    return encoded.length === 0 || encoded.length > maxKeyBytes ? undefined : this.database.getBinary(encoded);
  }
  *entries({ prefix = "", start = "", limit = Number.POSITIVE_INFINITY }: EntriesOptions = {}): Iterable<[string, Uint8Array]> {
    const [prefixBytes, startBytes] = [encodeKey(prefix), encodeKey(start)];
    const from = Buffer.compare(prefixBytes, startBytes) > 0 ? prefixBytes : startBytes;
    let left = limit;
    if (left <= 0) return;
    for (const { key, value } of this.database.getRange(from.length === 0 ? {} : { start: from })) {
      if (prefixBytes.length > 0 && Buffer.compare(key.subarray(0, prefixBytes.length), prefixBytes) !== 0) return;
      yield [key.toString("utf8"), value];
      if (--left <= 0) return;
    }
  }
}
