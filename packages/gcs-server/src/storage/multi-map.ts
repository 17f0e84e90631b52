/** Sets by key; empty sets are not kept. Keys that are empty strings index nothing. */
export class MultiMap {
  private readonly sets = new Map<string, Set<string>>();

  add(key: string, value: string): void {
    if (key === "") return;
    const set = this.sets.get(key);
    if (set === undefined) this.sets.set(key, new Set([value]));
    else set.add(value);
  }
  delete(key: string, value: string): void {
    const set = this.sets.get(key);
    if (set?.delete(value) === true && set.size === 0) this.sets.delete(key);
  }
  /** A copy: callers change the index while they go through it. */
  of(key: string): string[] {
    return [...(this.sets.get(key) ?? [])];
  }
}
