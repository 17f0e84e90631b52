// Rows of one message type: protobuf on disk, read once at start-up, written through the journal.
import type { MessageCodec } from "@tray/protocol";
import type { Table } from "@tray/storage";
import type { Journal } from "./journal.js";

export class RecordTable<T> {
  constructor(
    private readonly table: Table,
    private readonly codec: MessageCodec<T>,
    private readonly journal: Journal,
  ) {}

  *all(): Iterable<[key: string, record: T]> {
    for (const [key, bytes] of this.table.entries()) yield [key, this.codec.decode(bytes)];
  }
  /** What is on disk. */
  read(key: string): T | undefined {
    const bytes = this.table.get(key);
    return bytes === undefined ? undefined : this.codec.decode(bytes);
  }
  /** `record` must not change afterwards. */
  put(key: string, record: T): void {
    this.journal.mark(this.table, key, () => this.codec.encode(record).finish());
  }
  delete(key: string): void {
    this.journal.mark(this.table, key, () => undefined);
  }
}
