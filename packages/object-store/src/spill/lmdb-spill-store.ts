// LmdbSpillStore: spilled objects on local disks, in LMDB environments ("generations") of bounded size.
//
// Owns:     what is in which generation, the spill directories' files.
// Not mine: which objects and when (core.ts), one environment (ChunkFile of @tray/storage), whose directories these are (the raylet).
// Crosses:  in: write, read, delete, close.
//
// Why generations: an LMDB file never becomes smaller. So no file becomes large, one whose last chunk is gone is removed, and room in those that are half
// empty is used before a new one is made, the fullest first, so that the emptier ones can run empty. At the worst, with deletions that leave every
// generation a little more than half full, the disk holds twice what is stored; when everything is deleted it holds nothing.
//
// Invariants
//   D1. An item is in `items` when all of its chunks are committed, and not before; a failed write leaves neither items nor chunks.
//   D2. usedBytes of a generation counts chunks from the moment they are assigned to it until their removal is committed: it never outgrows its limit.
//   D3. A generation is destroyed once, when nothing is in it and nothing is being written to it.
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { type Chunk, chunkBytesMax, ChunkFile } from "@tray/storage";
import { formatSize, isTrayError, type Logger, messageOf, TrayError } from "@tray/common";
import type { SpillItem, SpillStore } from "./store.js";

export interface LmdbSpillStoreOptions {
  /** Existing empty directories, normally on different disks; batches go to them in turn. */
  readonly directories: readonly string[];
  /** Nothing is written to a disk that is fuller than this part of it. Default 1: until it is full. */
  readonly diskFullRatio?: number;
  readonly logger: Logger;
  /** Default 512 MiB. */
  readonly generationBytesMax?: number;
}

interface Generation {
  readonly file: ChunkFile;
  usedBytes: number;
  chunks: number;
  /** Deleted chunks whose removal is not committed yet. */
  garbage: { readonly key: number; readonly bytes: number }[];
  removing: boolean;
  writes: number;
}

interface Directory {
  readonly path: string;
  readonly generations: Set<Generation>;
  current: Generation | undefined;
  made: number;
}

interface Placed {
  readonly generation: Generation;
  readonly key: number;
  readonly bytes: number;
}

interface Item {
  readonly size: number;
  /** All but the last of chunkBytesMax bytes; no two items share one. */
  readonly chunks: readonly Placed[];
}

export class LmdbSpillStore implements SpillStore {
  private readonly directories: readonly Directory[];
  private readonly items = new Map<number, Item>();
  private readonly background = new Set<Promise<void>>();
  private readonly generationBytesMax: number;
  private bytes = 0;
  private turn = 0;
  private lastKey = 0;
  private closing: Promise<void> | undefined;

  constructor(private readonly options: LmdbSpillStoreOptions) {
    this.directories = options.directories.map((path) => ({ path, generations: new Set(), current: undefined, made: 0 }));
    this.generationBytesMax = options.generationBytesMax ?? 512 * 2 ** 20;
  }

  get usedBytes(): number {
    return this.bytes;
  }
  /** Environments that exist now. */
  get generationCount(): number {
    return this.directories.reduce((sum, { generations }) => sum + generations.size, 0);
  }

  async write(items: readonly SpillItem[]): Promise<void> {
    let failure: unknown = new TrayError("OUT_OF_DISK", "there is no spill directory");
    const first = this.turn++;
    for (let i = 0; i < this.directories.length; i++) {
      const directory = this.directories[(first + i) % this.directories.length] as Directory;
      try {
        await this.checkRoom(directory.path);
        await this.writeTo(directory, items);
        return;
      } catch (error) {
        failure = error;
        if (!isTrayError(error, "OUT_OF_DISK")) break; // another disk does not help against bugs
      }
    }
    throw failure;
  }

  async read(spillId: number, offset: number, into: Uint8Array): Promise<void> {
    const item = this.items.get(spillId);
    if (item === undefined || offset + into.byteLength > item.size) throw new TrayError("NOT_FOUND", `nothing is spilled as ${spillId} at ${offset}`);
    for (let done = 0; done < into.byteLength; ) {
      const at = offset + done;
      const index = Math.floor(at / chunkBytesMax);
      const { generation, key, bytes } = item.chunks[index] as Placed;
      const within = at - index * chunkBytesMax;
      const length = Math.min(bytes - within, into.byteLength - done);
      await generation.file.read(key, within, into.subarray(done, done + length));
      done += length;
    }
  }

  delete(spillIds: readonly number[]): void {
    const touched = new Set<Generation>();
    for (const spillId of spillIds) {
      const item = this.items.get(spillId);
      if (item === undefined) continue;
      this.items.delete(spillId);
      this.bytes -= item.size;
      for (const placed of item.chunks) touched.add(this.discard(placed));
    }
    for (const generation of touched) this.reclaim(generation);
  }

  close(): Promise<void> {
    this.closing ??= this.doClose();
    return this.closing;
  }

  private async doClose(): Promise<void> {
    for (const { generations } of this.directories) for (const generation of generations) this.destroy(generation);
    while (this.background.size > 0) await Promise.all(this.background);
  }

  private async checkRoom(path: string): Promise<void> {
    const { diskFullRatio = 1 } = this.options;
    if (diskFullRatio >= 1) return;
    const { blocks, bfree, bavail, bsize } = await statfs(path);
    const used = blocks - bfree;
    if (used <= diskFullRatio * (used + bavail)) return;
    throw new TrayError(
      "OUT_OF_DISK",
      `the disk of ${path} is fuller than localFsCapacityThreshold (${diskFullRatio * 100} %): ${formatSize(bavail * bsize)} are left`,
      { hint: `free space on the disk that holds ${path}, or name other directories with --spill-dir`, details: { path } },
    );
  }

  private async writeTo(directory: Directory, items: readonly SpillItem[]): Promise<void> {
    if (this.closing !== undefined) throw new TrayError("UNAVAILABLE", "the spill store is closed");
    const placed = new Map<number, Placed[]>(items.map(({ spillId }) => [spillId, []]));
    try {
      for (const part of transactions(items)) {
        const bytes = part.reduce((sum, { chunk }) => sum + chunk.byteLength, 0);
        const generation = this.roomIn(directory, bytes);
        const chunks: Chunk[] = part.map(({ chunk }) => ({ key: ++this.lastKey, bytes: chunk }));
        generation.usedBytes += bytes; // D2
        generation.chunks += chunks.length;
        generation.writes++;
        part.forEach(({ spillId, chunk }, i) => placed.get(spillId)?.push({ generation, key: (chunks[i] as Chunk).key, bytes: chunk.byteLength }));
        try {
          await generation.file.put(chunks);
        } finally {
          generation.writes--;
        }
      }
    } catch (error) {
      // D1. What was not committed is not there to be removed, and that is no error.
      const touched = new Set([...placed.values()].flat().map((one) => this.discard(one)));
      for (const generation of touched) this.reclaim(generation);
      throw error;
    }
    for (const { spillId, bytes } of items) {
      this.items.set(spillId, { size: bytes.byteLength, chunks: placed.get(spillId) ?? [] });
      this.bytes += bytes.byteLength;
    }
  }

  private roomIn(directory: Directory, bytes: number): Generation {
    const { current } = directory;
    if (current !== undefined && current.usedBytes + bytes <= this.generationBytesMax) return current;
    let best: Generation | undefined;
    for (const generation of directory.generations) {
      if (generation.usedBytes + bytes > this.generationBytesMax / 2) continue;
      if (best === undefined || generation.usedBytes > best.usedBytes) best = generation;
    }
    best ??= this.open(directory);
    directory.current = best;
    return best;
  }

  private open(directory: Directory): Generation {
    const file = new ChunkFile(join(directory.path, `g${++directory.made}`));
    const generation: Generation = { file, usedBytes: 0, chunks: 0, garbage: [], removing: false, writes: 0 };
    directory.generations.add(generation);
    return generation;
  }

  private discard({ generation, key, bytes }: Placed): Generation {
    generation.chunks--;
    generation.garbage.push({ key, bytes });
    return generation;
  }

  private reclaim(generation: Generation): void {
    if (generation.chunks === 0 && generation.writes === 0) return this.destroy(generation); // D3
    if (generation.removing || generation.garbage.length === 0) return;
    const { garbage } = generation;
    generation.garbage = [];
    generation.removing = true;
    const removal = generation.file.remove(garbage.map(({ key }) => key)).then(
      () => {
        for (const { bytes } of garbage) generation.usedBytes -= bytes; // D2
      },
      (error: unknown) => {
        generation.garbage.push(...garbage); // on a full disk even this can fail; it is tried again with the next deletion
        if (this.closing === undefined) this.options.logger.warn("spilled chunks could not be removed", { error: messageOf(error) });
      },
    );
    this.run(
      removal.then(() => {
        generation.removing = false;
        if (this.isOpen(generation) && generation.chunks === 0 && generation.writes === 0) this.destroy(generation);
      }),
    );
  }

  private isOpen(generation: Generation): boolean {
    return this.directories.some(({ generations }) => generations.has(generation));
  }

  private destroy(generation: Generation): void {
    for (const directory of this.directories) {
      if (!directory.generations.delete(generation)) continue;
      if (directory.current === generation) directory.current = undefined;
      this.run(
        generation.file.destroy().catch((error: unknown) => {
          this.options.logger.warn("a spill file could not be removed", { directory: directory.path, error: messageOf(error) });
        }),
      );
    }
  }

  private run(task: Promise<void>): void {
    this.background.add(task);
    void task.finally(() => this.background.delete(task));
  }
}

interface Part {
  readonly spillId: number;
  readonly chunk: Uint8Array;
}

/** Small items share a transaction of up to a chunk's size, large ones are cut into chunks: see ChunkFile for the measurements. */
function* transactions(items: readonly SpillItem[]): Iterable<readonly Part[]> {
  let part: Part[] = [];
  let bytes = 0;
  for (const { spillId, bytes: whole } of items) {
    for (let at = 0; at < whole.byteLength; at += chunkBytesMax) {
      const chunk = whole.subarray(at, at + chunkBytesMax);
      if (bytes + chunk.byteLength > chunkBytesMax && part.length > 0) {
        yield part;
        part = [];
        bytes = 0;
      }
      part.push({ spillId, chunk });
      bytes += chunk.byteLength;
    }
  }
  if (part.length > 0) yield part;
}
