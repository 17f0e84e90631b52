// ChunkFile: large values by number in one LMDB environment, for bytes that are worthless once this process has ended (nothing is ever flushed).
//
// Owns:     the environment and its directory, which it makes and removes.
// Not mine: what the chunks are parts of, how many there may be.
// Crosses:  in: put, read, remove, destroy.
//
// Measured (16 MiB values and 1 and 4 MiB chunks, transactions of 1 to 128 MiB): chunks of 4 MiB in transactions of 4 MiB are as fast as plain writes, larger
// transactions are up to half as fast (LMDB builds a transaction in fresh heap memory, which it then holds), smaller chunks cost more transactions and
// system calls. A warm chunk is read in half a millisecond, which is all that the event loop is held up for.
//
// Invariants
//   C1. put() is one transaction, made by LMDB's own thread straight from the caller's memory: all of it or none, and a failed one leaves the file usable.
//   C2. The pages of a chunk are brought into memory by another thread before this one touches them.
//   C3. The environment is closed only when no read and no write of it is under way.
import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type Deferred, deferred, TrayError } from "@tray/common";
import { open as openEnvironment, type RootDatabase } from "lmdb";
import { storeFailure } from "./failure.js";

/** What fits into whole pages together with LMDB's header: 4 MiB of file. */
export const chunkBytesMax = 4 * 2 ** 20 - 16;

export interface Chunk {
  /** A positive integer, never used before in this file. */
  readonly key: number;
  /** At most chunkBytesMax. Must not change until put() has settled. */
  readonly bytes: Uint8Array;
}

export class ChunkFile {
  private readonly environment: RootDatabase<Uint8Array, Uint8Array>;
  private busy = 0;
  private idle: Deferred<void> | undefined;
  private destroyed: Promise<void> | undefined;

  /** Makes the directory `path`, which must not exist. @throws OUT_OF_DISK, SYSTEM. */
  constructor(private readonly path: string) {
    try {
      mkdirSync(path, { mode: 0o700 });
      this.environment = openEnvironment({
        path,
        noSubdir: false,
        encoding: "binary",
        keyEncoding: "binary",
        cache: false,
        noSync: true,
        noMemInit: true, // zeroes what is overwritten at once; leaks at most this process's own memory into a file of mode 0600
        overlappingSync: false,
        eventTurnBatching: false,
        maxReaders: 16,
        mapSize: 2 ** 30, // address space; grows by itself
      });
    } catch (error) {
      throw storeFailure(path, "open", error);
    }
  }

  /** C1. @throws OUT_OF_DISK, SYSTEM; then nothing is stored. */
  async put(chunks: readonly Chunk[]): Promise<void> {
    await this.during(async () => {
      const puts: Promise<unknown>[] = [];
      const batch = this.environment.batch(() => {
        for (const { key, bytes } of chunks) puts.push(this.environment.put(encodeKey(key), bytes));
      });
      await committed(this.path, "write to", [batch, ...puts]);
    });
  }

  /** Copies the chunk's bytes from `offset` on into `into`. @throws NOT_FOUND no such chunk, or it ends before `into` does. */
  async read(key: number, offset: number, into: Uint8Array): Promise<void> {
    await this.during(async () => {
      const encoded = encodeKey(key);
      await new Promise<void>((resolve) => void this.environment.prefetch([encoded], () => resolve())); // C2
      const value = this.environment.getBinaryFast(encoded);
      const end = offset + into.byteLength;
      if (value === undefined || value.length < end) throw new TrayError("NOT_FOUND", `${this.path} has no chunk ${key} of ${end} bytes`);
      into.set(value.subarray(offset, end));
    });
  }

  /** The space is used for later chunks; the file does not become smaller. @throws OUT_OF_DISK: even this needs some room. Then all are still there. */
  async remove(keys: readonly number[]): Promise<void> {
    await this.during(async () => {
      const removes: Promise<unknown>[] = [];
      const batch = this.environment.batch(() => {
        for (const key of keys) removes.push(this.environment.remove(encodeKey(key)));
      });
      await committed(this.path, "remove from", [batch, ...removes]);
      // Pages that a transaction frees can be used from the next but one on. On a full disk no later one would succeed without them.
      await this.environment.put(encodeKey(0), nothing).catch(() => undefined);
    });
  }

  /** Waits for what is under way, closes, removes the directory. Idempotent. */
  destroy(): Promise<void> {
    this.destroyed ??= this.doDestroy();
    return this.destroyed;
  }

  private async doDestroy(): Promise<void> {
    if (this.busy > 0) {
      this.idle = deferred();
      await this.idle.promise; // C3
    }
    await this.environment.close();
    await rm(this.path, { recursive: true, force: true });
  }

  private async during(work: () => Promise<void>): Promise<void> {
    if (this.destroyed !== undefined) throw new TrayError("UNAVAILABLE", `the store ${this.path} is closed`);
    this.busy++;
    try {
      await work();
    } finally {
      if (--this.busy === 0) this.idle?.resolve();
    }
  }
}

const nothing = new Uint8Array(1);

function encodeKey(key: number): Buffer {
  const encoded = Buffer.alloc(8);
  encoded.writeBigUInt64BE(BigInt(key));
  return encoded;
}

/** All settle before it answers: nobody may touch the chunks' memory while one is still being written. */
async function committed(path: string, what: string, operations: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(operations)).filter((result) => result.status === "rejected");
  if (failed.length === 0) return;
  const errors = await Promise.all(failed.map(({ reason }) => reasonOf(reason)));
  throw storeFailure(path, what, errors[0]);
}

/** The reason of a failed commit comes later, as the rejection of a promise on the error. */
async function reasonOf(error: unknown): Promise<unknown> {
  const reason = (error as { commitError?: Promise<never> }).commitError;
  return reason === undefined ? error : await reason.catch((why: unknown) => why);
}
