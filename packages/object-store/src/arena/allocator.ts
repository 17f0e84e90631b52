// ArenaAllocator: which bytes of [0, capacity) are taken.
//
// Owns:     the physical chain of blocks, the free lists, the byte counts.
// Not mine: the memory itself (arena.ts), who owns a block and when it may go (table/core.ts).
// Crosses:  in: allocate, free.  out: offsets.
//
// The structure is TLSF's (Masmano, Ripoll, Crespo, Real: "TLSF: a new dynamic memory allocator for real-time systems", ECRTS 2004):
// free blocks in lists by size class, 16 classes for each power of two, bitmaps to find the next class that has something; neighbours
// reachable from each block, so that freeing coalesces at once. Two things differ. The exact class is searched a little way for a tight
// fit before a larger class is split, and in full before the answer is no. And memory that was never handed out is kept apart and cut
// last: pages that were touched before are several times faster to write than fresh ones, and cost no further memory.
//
// Invariants
//   A1. The chain covers [0, capacity) without gaps or overlaps; every boundary is page-aligned.
//   A2. No two free blocks are neighbours.
//   A3. A free block is in exactly the list of its class, or it is the untouched tail; a bit is set iff its list is not empty.
//   A4. usedBytes is the sum of the taken blocks.
import { invariant } from "@tray/common";

/** Blocks begin at multiples of this and occupy whole multiples of it. */
export const pageBytes = 4096;

const classBits = 4;
const classesPerLevel = 1 << classBits;
const levels = 32 - classBits;
/** How far into a list of the exact class a tight fit is looked for before a larger class is cut. */
const tightFitProbes = 8;

interface Block {
  offset: number;
  pages: number;
  free: boolean;
  /** Neighbours in the arena. */
  before: Block | undefined;
  after: Block | undefined;
  /** Neighbours in the free list. */
  previous: Block | undefined;
  next: Block | undefined;
}

/** Bytes that an object of `size` bytes occupies: whole pages, at least one. */
export function blockBytes(size: number): number {
  return Math.max(1, Math.ceil(size / pageBytes)) * pageBytes;
}

/** Class index of a block of `pages`: exact up to 16 pages, then 16 classes per doubling. */
function classOf(pages: number): number {
  if (pages < classesPerLevel) return pages;
  const log = 31 - Math.clz32(pages);
  return ((log - classBits + 1) << classBits) + ((pages >>> (log - classBits)) & (classesPerLevel - 1));
}

export class ArenaAllocator {
  private readonly lists = new Array<Block | undefined>(levels * classesPerLevel).fill(undefined);
  private readonly classBitmaps = new Int32Array(levels);
  private levelBitmap = 0;
  private readonly taken = new Map<number, Block>();
  private readonly first: Block;
  /** The never-touched end of the arena; not in any list (A3). */
  private tail: Block | undefined;
  private used = 0;
  private touched = 0;

  /** @param capacity bytes; a positive multiple of pageBytes below 8 TiB. */
  constructor(readonly capacity: number) {
    invariant(capacity > 0 && capacity % pageBytes === 0 && capacity / pageBytes < 2 ** 31, () => `arena capacity ${capacity}`);
    this.first = { offset: 0, pages: capacity / pageBytes, free: true, before: undefined, after: undefined, previous: undefined, next: undefined };
    this.tail = this.first;
  }

  get usedBytes(): number {
    return this.used;
  }
  get freeBytes(): number {
    return this.capacity - this.used;
  }
  /** Bytes below which memory has been handed out at least once: what the arena costs in physical memory. */
  get touchedBytes(): number {
    return this.touched;
  }
  get blocks(): number {
    return this.taken.size;
  }

  /** Bytes of the largest block that allocate() could give out. */
  get largestFree(): number {
    let largest = this.tail?.pages ?? 0;
    if (this.levelBitmap !== 0) {
      const level = 31 - Math.clz32(this.levelBitmap);
      const at = 31 - Math.clz32(this.classBitmaps[level] as number);
      for (let block = this.lists[level * classesPerLevel + at]; block !== undefined; block = block.next) largest = Math.max(largest, block.pages);
    }
    return largest * pageBytes;
  }

  /** The offset of a block of at least `size` bytes, or `undefined` when no free block is that long. */
  allocate(size: number): number | undefined {
    invariant(Number.isSafeInteger(size) && size >= 0, () => `allocation of ${size} bytes`);
    if (size > this.capacity) return undefined;
    const pages = blockBytes(size) / pageBytes;
    const block = this.find(pages);
    if (block === undefined) return undefined;
    this.detach(block);
    if (block.pages > pages) this.split(block, pages);
    block.free = false;
    this.taken.set(block.offset, block);
    this.used += pages * pageBytes;
    this.touched = Math.max(this.touched, block.offset + pages * pageBytes);
    return block.offset;
  }

  /** Gives back the block that allocate() answered with `offset`. */
  free(offset: number): void {
    let block = this.taken.get(offset);
    invariant(block !== undefined, () => `free of ${offset}, which is not allocated`);
    this.taken.delete(offset);
    this.used -= block.pages * pageBytes;
    block.free = true;
    if (block.after?.free === true) {
      this.detach(block.after);
      this.absorbAfter(block);
    }
    if (block.before?.free === true) {
      block = block.before;
      this.detach(block);
      this.absorbAfter(block);
    }
    this.attach(block);
  }

  /** Bytes that the block at `offset` occupies; `undefined` when none begins there. */
  sizeAt(offset: number): number | undefined {
    const block = this.taken.get(offset);
    return block === undefined ? undefined : block.pages * pageBytes;
  }

  /** Throws InvariantError when A1–A4 do not hold. O(blocks); for tests. */
  check(): void {
    let at = 0;
    let used = 0;
    let free = 0;
    let before: Block | undefined;
    for (let block: Block | undefined = this.first; block !== undefined; before = block, block = block.after) {
      invariant(block.offset === at && block.pages > 0 && block.before === before, () => `A1 at ${at}`);
      invariant(!(block.free && before?.free === true), () => `A2 at ${at}`);
      invariant(block.free !== (this.taken.get(block.offset) === block), () => `taken map at ${at}`);
      if (block.free) free++;
      else used += block.pages * pageBytes;
      at += block.pages * pageBytes;
    }
    invariant(at === this.capacity, "A1: the chain does not cover the arena");
    invariant(used === this.used, "A4");
    let listed = this.tail === undefined ? 0 : 1;
    invariant(this.tail === undefined || (this.tail.free && this.tail.after === undefined), "A3: tail");
    for (let index = 0; index < this.lists.length; index++) {
      const head = this.lists[index];
      const level = index >>> classBits;
      const bit = ((this.classBitmaps[level] as number) >>> (index & (classesPerLevel - 1))) & 1;
      invariant((bit === 1) === (head !== undefined), () => `A3: bitmap of class ${index}`);
      invariant(bit === 0 || ((this.levelBitmap >>> level) & 1) === 1, () => `A3: level bitmap of class ${index}`);
      for (let block = head; block !== undefined; block = block.next) {
        invariant(block.free && classOf(block.pages) === index && block !== this.tail, () => `A3: class ${index}`);
        listed++;
      }
    }
    invariant(listed === free, "A3: a free block is in no list");
  }

  private find(pages: number): Block | undefined {
    const own = classOf(pages);
    let best: Block | undefined;
    let probes = tightFitProbes;
    for (let block = this.lists[own]; block !== undefined && probes > 0; block = block.next, probes--) {
      if (block.pages >= pages && (best === undefined || block.pages < best.pages)) best = block;
      if (best?.pages === pages) break;
    }
    best ??= this.firstAbove(own);
    if (best !== undefined) return best;
    for (let block = this.lists[own]; block !== undefined; block = block.next) if (block.pages >= pages) return block;
    return this.tail !== undefined && this.tail.pages >= pages ? this.tail : undefined;
  }

  /** Any block of the smallest non-empty class above `index`: all of them are longer than anything of class `index`. */
  private firstAbove(index: number): Block | undefined {
    let level = index >>> classBits;
    const at = index & (classesPerLevel - 1);
    let classes = (this.classBitmaps[level] as number) & (-1 << (at + 1));
    if (classes === 0) {
      const above = level + 1 < 32 ? this.levelBitmap & (-1 << (level + 1)) : 0;
      if (above === 0) return undefined;
      level = 31 - Math.clz32(above & -above);
      classes = this.classBitmaps[level] as number;
    }
    return this.lists[level * classesPerLevel + (31 - Math.clz32(classes & -classes))];
  }

  /** Cuts `block`, which is in no list, down to `pages`; the rest becomes a free block. */
  private split(block: Block, pages: number): void {
    const rest: Block = {
      offset: block.offset + pages * pageBytes,
      pages: block.pages - pages,
      free: true,
      before: block,
      after: block.after,
      previous: undefined,
      next: undefined,
    };
    if (block.after !== undefined) block.after.before = rest;
    block.after = rest;
    block.pages = pages;
    this.attach(rest);
  }

  /** Merges the neighbour after `block`, which is in no list, into it. */
  private absorbAfter(block: Block): void {
    const gone = block.after as Block;
    block.pages += gone.pages;
    block.after = gone.after;
    if (gone.after !== undefined) gone.after.before = block;
  }

  private attach(block: Block): void {
    // What reaches the end of the arena is, or borders on, untouched memory; its touched part is at its low end, which is cut first.
    if (block.after === undefined) {
      this.tail = block;
      return;
    }
    const index = classOf(block.pages);
    const head = this.lists[index];
    block.previous = undefined;
    block.next = head;
    if (head !== undefined) head.previous = block;
    this.lists[index] = block;
    const level = index >>> classBits;
    this.classBitmaps[level] = (this.classBitmaps[level] as number) | (1 << (index & (classesPerLevel - 1)));
    this.levelBitmap |= 1 << level;
  }

  private detach(block: Block): void {
    if (block === this.tail) {
      this.tail = undefined;
      return;
    }
    const index = classOf(block.pages);
    if (block.previous === undefined) this.lists[index] = block.next;
    else block.previous.next = block.next;
    if (block.next !== undefined) block.next.previous = block.previous;
    block.previous = undefined;
    block.next = undefined;
    if (this.lists[index] !== undefined) return;
    const level = index >>> classBits;
    this.classBitmaps[level] = (this.classBitmaps[level] as number) & ~(1 << (index & (classesPerLevel - 1)));
    if (this.classBitmaps[level] === 0) this.levelBitmap &= ~(1 << level);
  }
}
