// Journal: memory first, disk before anyone is told.
//
// The cores decide in memory, synchronously; each changed row is marked here. What was marked in one turn of the event loop goes into one batch, so what
// one decision changed is stored together or not at all. Replies and publications wait for `durable`.
//
// Owns:     rows that differ from the disk, the one batch being written, who waits for it.
// Not mine: the rows' contents (an encoder is asked when the row is written, so a retry after a failure writes what is true then).
// Crosses:  in: mark, durable, whenDurable.  out: Store.commit.
//
// Invariants
//   J1. One batch is written at a time; a waiter is answered when every row marked before it waited is on disk.
//   J2. Waiters are answered in the order in which they began to wait: publications leave in the order of the decisions.
//   J3. A failed write is repeated until it succeeds or the journal closes: memory is the truth that disk must reach.
import { type Clock, type Logger, type Metrics, sleep } from "@tray/common";
import { type Store, type Table, WriteBatch } from "@tray/storage";

interface Row {
  readonly table: Table;
  readonly key: string;
  /** Undefined deletes. */
  readonly encode: () => Uint8Array | undefined;
}

const retryMs = 500;
const closeMs = 2000;

export class Journal {
  private marked = new Map<string, Row>();
  private waiters: (() => void)[] = [];
  private writing = false;
  private scheduled = false;
  private readonly aborter = new AbortController();

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly metrics: Metrics,
  ) {}

  mark(table: Table, key: string, encode: () => Uint8Array | undefined): void {
    this.marked.set(`${table.name}/${key}`, { table, key, encode });
    this.schedule();
  }

  /** Resolves when all that was marked so far is on disk. Never, when the journal closed before. */
  durable(): Promise<void> {
    return new Promise((resolve) => this.whenDurable(resolve));
  }
  /** As `durable`, without a promise; runs `fn` at once when nothing is under way. */
  whenDurable(fn: () => void): void {
    if (this.marked.size === 0 && !this.writing) fn();
    else this.waiters.push(fn);
  }

  /** Writes what is marked, then stops; after two seconds it stops anyway (a full disk). */
  async close(): Promise<void> {
    const stop = (): void => this.aborter.abort(new Error("journal closed"));
    const timer = this.clock.after(closeMs, stop);
    const stopped = new Promise<void>((resolve) => this.aborter.signal.addEventListener("abort", () => resolve(), { once: true }));
    await Promise.race([this.durable(), stopped]);
    timer.cancel();
    stop();
  }

  private schedule(): void {
    if (this.scheduled || this.writing) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      void this.write();
    });
  }

  // J1
  private async write(): Promise<void> {
    this.writing = true;
    while (this.marked.size > 0 && !this.aborter.signal.aborted) {
      const rows = this.marked;
      const waiters = this.waiters;
      this.marked = new Map();
      this.waiters = [];
      if (await this.writeOnce(rows)) {
        for (const answer of waiters) answer(); // J2
      } else {
        for (const [id, row] of rows) if (!this.marked.has(id)) this.marked.set(id, row); // J3
        this.waiters = [...waiters, ...this.waiters];
        await sleep(this.clock, retryMs, this.aborter.signal).catch(() => undefined); // closing: the loop ends
      }
    }
    this.writing = false;
    // A row marked with no waiter before it: nobody waits for more than what is on disk now.
    if (this.marked.size === 0) for (const answer of this.waiters.splice(0)) answer();
  }

  private async writeOnce(rows: ReadonlyMap<string, Row>): Promise<boolean> {
    const batch = new WriteBatch();
    for (const { table, key, encode } of rows.values()) {
      const value = encode();
      if (value === undefined) batch.delete(table, key);
      else batch.put(table, key, value);
    }
    try {
      await this.store.commit(batch);
      this.metrics.count("tray_gcs_rows_written_total", {}, rows.size);
      return true;
    } catch (error) {
      this.metrics.count("tray_gcs_write_failures_total");
      this.logger.error("state could not be stored; trying again", { error, rows: rows.size });
      return false;
    }
  }
}
