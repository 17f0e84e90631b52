// JobStore: the records of submitted jobs in the GCS's key-value table.
import { TrayError } from "@tray/common";
import type { Client, GcsService } from "@tray/protocol";
import type { Change, JobRecord } from "./record.js";

export const submissionsNamespace = "submissions";

/** The methods of the GCS that this needs. */
export type KeyValue = Pick<Client<typeof GcsService>, "kvGet" | "kvList" | "kvCas">;

const encode = (record: JobRecord): Buffer => Buffer.from(JSON.stringify(record));
const decode = (bytes: Uint8Array): JobRecord => JSON.parse(new TextDecoder().decode(bytes)) as JobRecord;

/** Swaps that lose this often in a row mean that something writes in a loop. */
const swapTriesMax = 100;

export class JobStore {
  constructor(private readonly kv: KeyValue) {}

  async get(submissionId: string): Promise<JobRecord | undefined> {
    const { found, value } = await this.kv.kvGet({ namespace: submissionsNamespace, key: submissionId }, { retry: true });
    return found ? decode(value) : undefined;
  }

  async list(): Promise<JobRecord[]> {
    const { entries } = await this.kv.kvList({ namespace: submissionsNamespace, prefix: "", values: true }, { retry: true });
    return entries.map((e) => decode(e.value));
  }

  /** False when the id is taken. */
  async create(record: JobRecord): Promise<boolean> {
    const value = encode(record);
    const reply = await this.kv.kvCas({ namespace: submissionsNamespace, key: record.submissionId, expected: empty, value }, { retry: true });
    // A repeated request whose first reply was lost finds its own bytes.
    return reply.swapped || Buffer.compare(reply.current, value) === 0;
  }

  /**
   * Applies `change` to the present record until the swap succeeds.
   * @returns the record as it is now, and whether `change` was applied; undefined when there is no such job.
   */
  async update(
    submissionId: string,
    change: (record: JobRecord) => Change,
  ): Promise<{ record: JobRecord; applied: boolean; refused?: string } | undefined> {
    const key = { namespace: submissionsNamespace, key: submissionId };
    let { found, value: current } = await this.kv.kvGet(key, { retry: true });
    for (let tries = 0; found && tries < swapTriesMax; tries++) {
      const before = decode(current);
      const outcome = change(before);
      if ("refused" in outcome) return { record: before, applied: false, refused: outcome.refused };
      const value = encode(outcome.record);
      const reply = await this.kv.kvCas({ ...key, expected: current, value }, { retry: true });
      if (reply.swapped || Buffer.compare(reply.current, value) === 0) return { record: outcome.record, applied: true };
      current = reply.current;
      found = current.length > 0;
    }
    if (found) throw new TrayError("CONFLICT", `the record of job ${submissionId} keeps changing`);
    return undefined;
  }

  /** Deletes a record that satisfies `allowed`; the record that was found decides. */
  async delete(submissionId: string, allowed: (record: JobRecord) => boolean): Promise<"deleted" | "refused" | "missing"> {
    const key = { namespace: submissionsNamespace, key: submissionId };
    let { found, value: current } = await this.kv.kvGet(key, { retry: true });
    while (found) {
      if (!allowed(decode(current))) return "refused";
      const reply = await this.kv.kvCas({ ...key, expected: current, value: empty }, { retry: true });
      if (reply.swapped || reply.current.length === 0) return "deleted";
      current = reply.current;
      found = current.length > 0;
    }
    return "missing";
  }
}

const empty = Buffer.alloc(0);
