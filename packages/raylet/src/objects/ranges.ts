// Ranges: which bytes of an object have arrived, and who brings which of the rest.
//
// Invariants
//   A1. Ranges do not overlap and cover the object; each is taken by at most one source at a time.
//   A2. What has arrived stays arrived: a range that is put back goes on where it stopped.
//   A3. `prefix` only grows.

export interface Range {
  readonly start: number;
  readonly end: number;
  /** Everything before it has arrived. */
  at: number;
  taken: boolean;
}

export class Ranges {
  private readonly ranges: Range[] = [];
  /** Ranges before this one are complete. */
  private first = 0;
  private readonly waiting: { readonly until: number; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  private failure: Error | undefined;

  /** @param rangeBytes at least 1. */
  constructor(
    readonly size: number,
    rangeBytes: number,
  ) {
    for (let start = 0; start < size; start += rangeBytes) {
      this.ranges.push({ start, end: Math.min(size, start + rangeBytes), at: start, taken: false });
    }
  }

  get isComplete(): boolean {
    return this.prefix === this.size;
  }

  /** Bytes from the beginning on that are all there. */
  get prefix(): number {
    for (; this.first < this.ranges.length; this.first++) {
      const range = this.ranges[this.first] as Range;
      if (range.at < range.end) return range.at;
    }
    return this.size;
  }

  /** The first range that nobody brings. The taker puts it back when it cannot go on. */
  take(): Range | undefined {
    const range = this.ranges.find(({ at, end, taken }) => !taken && at < end);
    if (range !== undefined) range.taken = true;
    return range;
  }

  putBack(range: Range): void {
    range.taken = false;
  }

  arrived(range: Range, bytes: number): void {
    range.at += bytes;
    if (this.waiting.length === 0) return;
    const { prefix } = this;
    for (let i = this.waiting.length - 1; i >= 0; i--) {
      const waiter = this.waiting[i] as (typeof this.waiting)[number];
      if (waiter.until > prefix) continue;
      this.waiting.splice(i, 1);
      waiter.resolve();
    }
  }

  /** Resolves when the first `bytes` bytes are there. Rejects when they will not come. */
  until(bytes: number): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    if (this.prefix >= bytes) return Promise.resolve();
    return new Promise((resolve, reject) => this.waiting.push({ until: bytes, resolve, reject }));
  }

  /** Nothing more will arrive. Idempotent; nothing to tell when all is there. */
  fail(error: Error): void {
    this.failure ??= error;
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }
}
