/** A growable ring: O(1) push and shift at both ends, no array shuffling on hot paths. Unbounded by itself: see BoundedQueue. */
export class Deque<T> implements Iterable<T> {
  private items: (T | undefined)[] = new Array<T | undefined>(16);
  private head = 0;
  private count = 0;

  get length(): number {
    return this.count;
  }
  push(item: T): void {
    if (this.count === this.items.length) this.grow();
    this.items[(this.head + this.count) & (this.items.length - 1)] = item;
    this.count++;
  }
  unshift(item: T): void {
    if (this.count === this.items.length) this.grow();
    this.head = (this.head - 1) & (this.items.length - 1);
    this.items[this.head] = item;
    this.count++;
  }
  peek(): T | undefined {
    return this.count === 0 ? undefined : this.items[this.head];
  }
  shift(): T | undefined {
    if (this.count === 0) return undefined;
    const item = this.items[this.head];
    this.items[this.head] = undefined;
    this.head = (this.head + 1) & (this.items.length - 1);
    this.count--;
    return item;
  }
  pop(): T | undefined {
    if (this.count === 0) return undefined;
    this.count--;
    const at = (this.head + this.count) & (this.items.length - 1);
    const item = this.items[at];
    this.items[at] = undefined;
    return item;
  }
  /** Removes the first item for which `test` holds. O(its place), wherever the end is. */
  removeFirst(test: (item: T) => boolean): T | undefined {
    const mask = this.items.length - 1;
    for (let i = 0; i < this.count; i++) {
      const item = this.items[(this.head + i) & mask] as T;
      if (!test(item)) continue;
      for (let j = i; j > 0; j--) this.items[(this.head + j) & mask] = this.items[(this.head + j - 1) & mask];
      this.shift();
      return item;
    }
    return undefined;
  }
  clear(): void {
    this.items = new Array<T | undefined>(16);
    this.head = 0;
    this.count = 0;
  }
  *[Symbol.iterator](): Iterator<T> {
    for (let i = 0; i < this.count; i++) yield this.items[(this.head + i) & (this.items.length - 1)] as T;
  }
  private grow(): void {
    const next = new Array<T | undefined>(this.items.length * 2);
    for (let i = 0; i < this.count; i++) next[i] = this.items[(this.head + i) & (this.items.length - 1)];
    this.items = next;
    this.head = 0;
  }
}

/** A deque with a limit. `push` answers whether there was room: a full queue is an outcome, never an exception and never silent growth. */
export class BoundedQueue<T> {
  private readonly deque = new Deque<T>();
  constructor(readonly max: number) {}
  get length(): number {
    return this.deque.length;
  }
  get full(): boolean {
    return this.deque.length >= this.max;
  }
  push(item: T): boolean {
    if (this.full) return false;
    this.deque.push(item);
    return true;
  }
  shift(): T | undefined {
    return this.deque.shift();
  }
  peek(): T | undefined {
    return this.deque.peek();
  }
}
