// KvTable: small values by namespace and key, for job records, settings and whoever wants. They live on disk only.
//
// Invariants
//   K1. Whether a write may happen is decided on what the key will hold when the writes before it are done, not on what is on disk now.
//   K2. A write is answered, and seen by readers, when it is on disk.
import { type Store, type Table, WriteBatch } from "@tray/storage";

const keyOf = (namespace: string, key: string): string => `${encodeURIComponent(namespace)}/${key}`;

interface Pending {
  value: Uint8Array | undefined;
  writes: number;
}

export class KvTable {
  /** What keys will hold when the writes under way are done. */
  private readonly pending = new Map<string, Pending>();

  constructor(
    private readonly store: Store,
    private readonly table: Table,
  ) {}

  get(namespace: string, key: string): Uint8Array | undefined {
    return this.table.get(keyOf(namespace, key));
  }

  /** @returns whether it was stored: not when the key exists and `overwrite` is false. */
  async put(namespace: string, key: string, value: Uint8Array, overwrite: boolean): Promise<boolean> {
    const at = keyOf(namespace, key);
    if (!overwrite && this.future(at) !== undefined) {
      await this.settled(at); // K2: the value that was in the way is there for who reads it now
      return false;
    }
    await this.write([[at, value]]);
    return true;
  }

  /**
   * `expected` empty: the key must be absent. `value` empty: delete. @returns what the key holds when it was not swapped; a caller that repeats a
   * request whose reply was lost, and writes values that nobody else writes, finds its own there.
   */
  async cas(namespace: string, key: string, expected: Uint8Array, value: Uint8Array): Promise<{ swapped: boolean; current: Uint8Array | undefined }> {
    const at = keyOf(namespace, key);
    const current = this.future(at); // K1
    const asExpected = expected.byteLength === 0 ? current === undefined : current !== undefined && Buffer.compare(current, expected) === 0;
    if (!asExpected) {
      await this.settled(at); // K2
      return { swapped: false, current };
    }
    const next = value.byteLength === 0 ? undefined : value;
    await this.write([[at, next]]);
    return { swapped: true, current: next };
  }

  async delete(namespace: string, key: string): Promise<void> {
    await this.write([[keyOf(namespace, key), undefined]]);
  }

  *list(namespace: string, prefix: string): Iterable<[key: string, value: Uint8Array]> {
    const cut = keyOf(namespace, "").length;
    for (const [key, value] of this.table.entries({ prefix: keyOf(namespace, prefix) })) yield [key.slice(cut), value];
  }

  private future(at: string): Uint8Array | undefined {
    const pending = this.pending.get(at);
    return pending === undefined ? this.table.get(at) : pending.value;
  }
  /** An empty batch is durable when those before it are. */
  private settled(at: string): Promise<void> {
    return this.pending.has(at) ? this.store.commit(new WriteBatch()) : Promise.resolve();
  }

  private async write(changes: readonly (readonly [key: string, value: Uint8Array | undefined])[]): Promise<void> {
    if (changes.length === 0) return;
    const batch = new WriteBatch();
    for (const [key, value] of changes) {
      if (value === undefined) batch.delete(this.table, key);
      else batch.put(this.table, key, value);
    }
    for (const [key, value] of changes) {
      const pending = this.pending.get(key);
      if (pending === undefined) this.pending.set(key, { value, writes: 1 });
      else Object.assign(pending, { value, writes: pending.writes + 1 });
    }
    try {
      await this.store.commit(batch);
    } finally {
      for (const [key] of changes) {
        const pending = this.pending.get(key) as Pending;
        if (--pending.writes === 0) this.pending.delete(key);
      }
    }
  }
}
