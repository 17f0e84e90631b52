// How much of the arena fragmentation can cost: an adversary that sees every answer, and random sizes in an arena that is nearly full. First fit, of which
// the worst case is known, goes through the same traces.
import { SeededRandom } from "@tray/common";
import { ArenaAllocator, pageBytes as page } from "./allocator.js";

interface Allocator {
  /** In pages. Undefined: nothing fits. */
  allocate(pages: number): number | undefined;
  free(at: number): void;
  /** Pages below the highest one that was ever used. */
  readonly touched: number;
}

class Ours implements Allocator {
  readonly arena: ArenaAllocator;
  constructor(capacity: number) {
    this.arena = new ArenaAllocator(capacity * page);
  }
  allocate(pages: number): number | undefined {
    const offset = this.arena.allocate(pages * page);
    return offset === undefined ? undefined : offset / page;
  }
  free(at: number): void {
    this.arena.free(at * page);
  }
  get touched(): number {
    return this.arena.touchedBytes / page;
  }
}

/** The lowest address that fits. */
class FirstFit implements Allocator {
  private readonly holes: { at: number; pages: number }[];
  private readonly sizes = new Map<number, number>();
  touched = 0;
  constructor(capacity: number) {
    this.holes = [{ at: 0, pages: capacity }];
  }
  allocate(pages: number): number | undefined {
    const index = this.holes.findIndex((hole) => hole.pages >= pages);
    const hole = this.holes[index];
    if (hole === undefined) return undefined;
    const { at } = hole;
    hole.at += pages;
    hole.pages -= pages;
    if (hole.pages === 0) this.holes.splice(index, 1);
    this.sizes.set(at, pages);
    this.touched = Math.max(this.touched, at + pages);
    return at;
  }
  free(at: number): void {
    const pages = this.sizes.get(at) as number;
    this.sizes.delete(at);
    let index = this.holes.findIndex((hole) => hole.at > at);
    if (index < 0) index = this.holes.length;
    this.holes.splice(index, 0, { at, pages });
    const [before, here, after] = [this.holes[index - 1], this.holes[index] as { at: number; pages: number }, this.holes[index + 1]];
    if (after !== undefined && here.at + here.pages === after.at) {
      here.pages += after.pages;
      this.holes.splice(index + 1, 1);
    }
    if (before !== undefined && before.at + before.pages === here.at) {
      before.pages += here.pages;
      this.holes.splice(index, 1);
    }
  }
}

/**
 * Robson, "An estimate of the store size necessary for dynamic storage allocation", JACM 18 (1971): never more than `live` pages in use, in blocks of 1, 2, 4, …
 * `largest` pages. Of each size it fills up with as many as it may; then it keeps the blocks that cover an address ≡ f (mod the next size) and frees the others, so
 * that no hole takes a block of the next size. Whatever the allocator does, it ends up with live·(½·log2 largest + 1) − largest + 1 pages.
 * @returns the pages that it needed.
 */
function adversary(allocator: Allocator, live: number, largest: number): number {
  let blocks: { at: number; pages: number }[] = [];
  let used = 0;
  let f = 0;
  for (let size = 1; size <= largest; size *= 2) {
    if (size > 1) {
      const covers = (block: { at: number; pages: number }, residue: number): boolean => {
        const first = block.at + ((((residue - block.at) % size) + size) % size);
        return first < block.at + block.pages;
      };
      const cost = (residue: number): number => blocks.reduce((sum, block) => sum + (covers(block, residue) ? size - block.pages : 0), 0);
      f = cost(f) >= cost(f + size / 2) ? f : f + size / 2;
      for (const block of blocks) if (!covers(block, f)) allocator.free(block.at);
      blocks = blocks.filter((block) => covers(block, f));
      used = blocks.reduce((sum, block) => sum + block.pages, 0);
    }
    for (; used + size <= live; used += size) blocks.push({ at: allocator.allocate(size) as number, pages: size });
  }
  return allocator.touched;
}

/** Sizes from a page to `largest`, log-uniform; random ones go until the next fits under `live`. @returns how full the arena would have been at each refusal. */
function churn(allocator: Allocator, capacity: number, live: number, largest: number, steps: number): { refused: number[]; steps: number } {
  const random = new SeededRandom(11);
  const blocks: { at: number; pages: number }[] = [];
  let used = 0;
  const refused: number[] = [];
  const drop = (): void => {
    const index = Math.floor(random.next() * blocks.length);
    const block = blocks[index] as { at: number; pages: number };
    blocks[index] = blocks[blocks.length - 1] as { at: number; pages: number };
    blocks.pop();
    allocator.free(block.at);
    used -= block.pages;
  };
  for (let step = 0; step < steps; step++) {
    const pages = Math.floor(largest ** random.next());
    while (used + pages > live) drop();
    let at = allocator.allocate(pages);
    if (at === undefined) refused.push((used + pages) / capacity);
    while (at === undefined) {
      drop();
      at = allocator.allocate(pages);
    }
    blocks.push({ at, pages });
    used += pages;
  }
  return { refused, steps };
}

/**
 * What ruins best fit (Robson, "Worst case fragmentation of first fit and best fit storage allocation strategies", Computer Journal 20 (1977)): blocks that grow by
 * a page, each freed and taken again one page shorter, so that a small block fits exactly behind it and stays when the large one goes.
 * Where nothing fits, the small blocks go in the order of their age, as cold objects go to disk.
 */
function growing(allocator: Allocator, from: number, to: number): { needed: number; live: number; allocated: number; gone: number } {
  const small: number[] = [];
  let [live, most, allocated, gone] = [0, 0, 0, 0];
  const take = (pages: number): number => {
    for (;;) {
      const at = allocator.allocate(pages);
      if (at !== undefined) {
        allocated += pages;
        live += pages;
        most = Math.max(most, live);
        return at;
      }
      give(small.shift() as number, 1);
      gone++;
    }
  };
  const give = (at: number, pages: number): void => {
    allocator.free(at);
    live -= pages;
  };
  let large = take(from + 1);
  for (let size = from; size < to; size++) {
    const next = take(size + 2); // borders on what was never used, and keeps `large` from it
    give(large, size + 1);
    const shorter = take(size);
    small.push(take(1));
    give(shorter, size);
    large = next;
  }
  return { needed: allocator.touched, live: most, allocated, gone };
}

const show = (what: string, numbers: object): void => {
  if (process.env["TRAY_TEST_SHOW"] === "1") process.stdout.write(`${what} ${JSON.stringify(numbers)}\n`);
};

describe("fragmentation", () => {
  it.each([
    [4096, 16],
    [4096, 256],
    [16_384, 1024],
  ])("the worst adversary, %d pages in blocks of up to %d: no worse than first fit's bound", (live, largest) => {
    const roomy = live * 32;
    const ours = new Ours(roomy);
    const needed = adversary(ours, live, largest);
    const firstFit = adversary(new FirstFit(roomy), live, largest);
    ours.arena.check();
    const log = Math.log2(largest);
    const least = live * (log / 2 + 1) - largest + 1;
    show("adversary", { live, largest, needed, firstFit, least, utilisation: live / needed });
    // The adversary is one: no allocator gets by with less (blocks of a power of two that are not aligned: Robson's bound holds).
    expect(needed).toBeGreaterThanOrEqual(least * 0.99);
    expect(firstFit).toBeGreaterThanOrEqual(least * 0.99);
    // Robson 1977: no trace makes first fit need more than about live·log2(largest) pages. Ours is not first fit; it must not be worse.
    expect(needed).toBeLessThanOrEqual(live * log + live);
    expect(needed).toBeLessThanOrEqual(firstFit * 1.1);
    // And the same trace goes through an arena of exactly that size: it is the arena that counts, not the room beside it.
    expect(adversary(new Ours(needed), live, largest)).toBe(needed);
  });

  it("blocks that grow by a page: many times what is in use, as with best fit; in an arena of twice that, a few cold pages go", () => {
    const [from, to] = [256, 1024];
    const { live, needed } = growing(new Ours(2 ** 20), from, to);
    const firstFit = growing(new FirstFit(2 ** 20), from, to);
    const tight = new Ours(2 * live);
    const { gone, allocated } = growing(tight, from, to);
    tight.arena.check();
    show("growing", { live, needed, firstFit: firstFit.needed, gone, allocated });
    expect(needed).toBeLessThanOrEqual(live * to); // Robson's bound for best fit
    // The price is not room but spilling: each page that goes joins two holes.
    expect(gone / allocated).toBeLessThan(0.01);
  });

  it("random sizes at a load of 90 %: refusals are few, and not more than first fit has", () => {
    const capacity = 16_384;
    const [ours, firstFit] = [new Ours(capacity), new FirstFit(capacity)].map((allocator) => {
      const { refused, steps } = churn(allocator, capacity, capacity * 0.9, 256, 20_000);
      refused.sort((a, b) => a - b);
      return { part: refused.length / steps, worst: refused[0] ?? 1, median: refused[Math.floor(refused.length / 2)] ?? 1 };
    }) as [{ part: number; worst: number; median: number }, { part: number; worst: number; median: number }];
    show("churn", { ours, firstFit });
    expect(ours.part).toBeLessThanOrEqual(firstFit.part * 1.1);
    expect(ours.worst).toBeGreaterThan(firstFit.worst - 0.1);
  });
});
