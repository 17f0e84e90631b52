// S3SpillStore: spilled objects in a bucket of S3 or of something that speaks its protocol.
//
// Owns:     what is in which S3 object.
// Not mine: which tray objects and when (core.ts), the protocol, credentials and retries (s3-bucket.ts).
// Crosses:  in: write, read, delete, close.
//
// A request costs tens of milliseconds and money, so that small items of a batch are fused into S3 objects of up to `fusedBytesMax` and read by range. An S3
// object is deleted with the last of its items.
//
// Invariants
//   S1. An item is in `items` when all of its parts are uploaded; a failed write leaves neither items nor, as far as the bucket answers, parts.
//   S2. An S3 object is deleted once: when no item is in it any more.
import { type Logger, messageOf, TrayError } from "@tray/common";
import type { SpillItem, SpillStore } from "./store.js";

/** What a store needs of a bucket, below a prefix of its own. */
export interface Bucket {
  /** @throws OUT_OF_DISK a quota is exceeded. SYSTEM. */
  put(key: string, parts: readonly Uint8Array[]): Promise<void>;
  /** @throws NOT_FOUND, SYSTEM. */
  get(key: string, offset: number, into: Uint8Array): Promise<void>;
  delete(keys: readonly string[]): Promise<void>;
  /** Deletes everything below the prefix. */
  clear(): Promise<void>;
}

export interface S3SpillStoreOptions {
  readonly bucket: Bucket;
  readonly logger: Logger;
  /** Uploads under way for one batch. Default 4. */
  readonly uploadsMax?: number;
  /** Default 32 MiB. Larger items are cut into parts of this size, which upload and download side by side. */
  readonly fusedBytesMax?: number;
}

interface Part {
  readonly key: string;
  /** Within the S3 object. */
  readonly offset: number;
  readonly bytes: number;
}

interface Item {
  readonly size: number;
  readonly parts: readonly Part[];
}

interface Upload {
  readonly key: string;
  readonly pieces: Uint8Array[];
  bytes: number;
}

export class S3SpillStore implements SpillStore {
  private readonly items = new Map<number, Item>();
  /** How many items have a part in each S3 object. */
  private readonly users = new Map<string, number>();
  private readonly background = new Set<Promise<void>>();
  private readonly fusedBytesMax: number;
  private bytes = 0;
  private lastKey = 0;
  private closing: Promise<void> | undefined;

  constructor(private readonly options: S3SpillStoreOptions) {
    this.fusedBytesMax = options.fusedBytesMax ?? 32 * 2 ** 20;
  }

  get usedBytes(): number {
    return this.bytes;
  }

  async write(items: readonly SpillItem[]): Promise<void> {
    if (this.closing !== undefined) throw new TrayError("UNAVAILABLE", "the spill store is closed");
    const { uploads, placed } = this.plan(items);
    const work = this.uploadAll(uploads);
    this.run(work.catch(() => undefined)); // close() waits for it
    try {
      await work;
    } catch (error) {
      this.remove(uploads.map(({ key }) => key)); // S1
      throw error;
    }
    for (const [spillId, item] of placed) {
      this.items.set(spillId, item);
      this.bytes += item.size;
      for (const { key } of item.parts) this.users.set(key, (this.users.get(key) ?? 0) + 1);
    }
  }

  async read(spillId: number, offset: number, into: Uint8Array): Promise<void> {
    const item = this.items.get(spillId);
    const end = offset + into.byteLength;
    if (item === undefined || end > item.size) throw new TrayError("NOT_FOUND", `nothing is spilled as ${spillId} at ${offset}`);
    const reads: Promise<void>[] = [];
    let at = 0;
    for (const part of item.parts) {
      const from = Math.max(offset, at);
      const to = Math.min(end, at + part.bytes);
      if (from < to) reads.push(this.options.bucket.get(part.key, part.offset + from - at, into.subarray(from - offset, to - offset)));
      at += part.bytes;
    }
    const failed = (await Promise.allSettled(reads)).find((result) => result.status === "rejected"); // nothing may write to `into` any more
    if (failed !== undefined) throw failed.reason;
  }

  delete(spillIds: readonly number[]): void {
    const unused: string[] = [];
    for (const spillId of spillIds) {
      const item = this.items.get(spillId);
      if (item === undefined) continue;
      this.items.delete(spillId);
      this.bytes -= item.size;
      for (const { key } of item.parts) {
        const users = (this.users.get(key) as number) - 1;
        if (users > 0) this.users.set(key, users);
        else {
          this.users.delete(key);
          unused.push(key); // S2
        }
      }
    }
    this.remove(unused);
  }

  close(): Promise<void> {
    this.closing ??= this.doClose();
    return this.closing;
  }

  private async doClose(): Promise<void> {
    while (this.background.size > 0) await Promise.all(this.background);
    await this.options.bucket.clear();
  }

  private plan(items: readonly SpillItem[]): { uploads: Upload[]; placed: Map<number, Item> } {
    const uploads: Upload[] = [];
    const placed = new Map<number, Item>();
    for (const { spillId, bytes } of items) {
      const parts: Part[] = [];
      for (let at = 0; at < bytes.byteLength; at += this.fusedBytesMax) {
        const piece = bytes.subarray(at, at + this.fusedBytesMax);
        let upload = uploads.at(-1);
        if (upload === undefined || upload.bytes + piece.byteLength > this.fusedBytesMax) {
          upload = { key: String(++this.lastKey), pieces: [], bytes: 0 };
          uploads.push(upload);
        }
        parts.push({ key: upload.key, offset: upload.bytes, bytes: piece.byteLength });
        upload.pieces.push(piece);
        upload.bytes += piece.byteLength;
      }
      placed.set(spillId, { size: bytes.byteLength, parts });
    }
    return { uploads, placed };
  }

  /** Settles when all have: nobody may touch the items' memory while one is still being sent. */
  private async uploadAll(uploads: readonly Upload[]): Promise<void> {
    let next = 0;
    let failed = false;
    const lane = async (): Promise<void> => {
      for (let upload = uploads[next++]; upload !== undefined && !failed; upload = uploads[next++]) {
        try {
          await this.options.bucket.put(upload.key, upload.pieces);
        } catch (error) {
          failed = true;
          throw error;
        }
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: this.options.uploadsMax ?? 4 }, lane));
    const first = lanes.find((result) => result.status === "rejected");
    if (first !== undefined) throw first.reason;
  }

  private remove(keys: readonly string[]): void {
    if (keys.length === 0) return;
    const removal = this.options.bucket.delete(keys).catch((error: unknown) => {
      this.options.logger.warn("spilled objects could not be deleted; they go when the node ends", { error: messageOf(error) });
    });
    this.run(removal);
  }

  private run(task: Promise<void>): void {
    this.background.add(task);
    void task.finally(() => this.background.delete(task));
  }
}
