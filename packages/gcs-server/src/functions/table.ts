// FunctionTable: the blobs of remote functions and classes by job and content hash. They live on disk only; a reader that comes before the writer waits.
//
// Invariants
//   F1. A blob is named by its content, so a second put of the same id changes nothing.
//   F2. A waiter is answered when the blob is on disk.
import { type Deferred, deferred, TrayError } from "@tray/common";
import { type Store, type Table, WriteBatch } from "@tray/storage";

const keyOf = (jobId: string, functionId: string): string => `${jobId}/${functionId}`;

interface Waiting {
  readonly arrived: Deferred<void>;
  readers: number;
}

export class FunctionTable {
  private readonly waiting = new Map<string, Waiting>();

  constructor(
    private readonly store: Store,
    private readonly table: Table,
  ) {}

  async put(jobId: string, functionId: string, blob: Uint8Array): Promise<void> {
    const key = keyOf(jobId, functionId);
    if (this.table.get(key) !== undefined) return; // F1
    await this.store.commit(new WriteBatch().put(this.table, key, blob));
    this.waiting.get(key)?.arrived.resolve(); // F2
    this.waiting.delete(key);
  }

  /** Answers when it is there. Rejects with the signal's reason. */
  async get(jobId: string, functionId: string, signal: AbortSignal): Promise<Uint8Array> {
    const key = keyOf(jobId, functionId);
    for (;;) {
      const blob = this.table.get(key);
      if (blob !== undefined) return blob;
      await this.arrival(key, signal);
    }
  }

  private async arrival(key: string, signal: AbortSignal): Promise<void> {
    const wait = this.waiting.get(key) ?? { arrived: deferred(), readers: 0 };
    this.waiting.set(key, wait);
    wait.readers++;
    try {
      await unlessAborted(wait.arrived.promise, signal);
    } finally {
      if (--wait.readers === 0 && this.waiting.get(key) === wait) this.waiting.delete(key);
    }
  }

  /** Nothing of the job runs any more. */
  dropJob(jobId: string): void {
    const batch = new WriteBatch();
    for (const [key] of this.table.entries({ prefix: `${jobId}/` })) batch.delete(this.table, key);
    // A failure leaves blobs that nobody asks for; the next start of the GCS drops them.
    if (batch.ops.length > 0) this.store.commit(batch).catch(() => undefined);
    for (const [key, wait] of this.waiting) {
      if (!key.startsWith(`${jobId}/`)) continue;
      wait.arrived.reject(new TrayError("NOT_FOUND", `job ${jobId} has ended; its functions are gone`));
      this.waiting.delete(key);
    }
  }

  /** Jobs that have blobs here. */
  jobs(): Set<string> {
    const jobs = new Set<string>();
    for (const [key] of this.table.entries()) jobs.add(key.slice(0, key.indexOf("/")));
    return jobs;
  }
}

function unlessAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
