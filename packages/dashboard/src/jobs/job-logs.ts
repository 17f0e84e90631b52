// The log of a submitted job, read from the node that ran it; and its tail as a sequence of texts.
import { type Clock, sleep } from "@tray/common";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import type { Cluster } from "../cluster.js";
import { isTerminal, type JobRecord } from "./record.js";

export const jobLogName = (submissionId: string): string => `job-driver-${submissionId}.log`;

const chunkBytesMax = 256 * 1024;
const pollMs = 100;

export class JobLogs {
  constructor(
    private readonly cluster: Cluster,
    /** Logs of nodes that share this machine and session: readable when their raylet is gone. */
    private readonly localLogsDir: string,
    private readonly clock: Clock,
  ) {}

  /** The whole log. Of a job that never reached a node: its message when it has failed, else nothing. */
  async read(record: JobRecord): Promise<string> {
    if (record.placement === null) return unplacedText(record);
    const parts: Uint8Array[] = [];
    let offset = 0;
    for (;;) {
      const data = await this.chunk(record, offset);
      if (data.length === 0) break;
      parts.push(data);
      offset += data.length;
    }
    return Buffer.concat(parts).toString("utf8");
  }

  /**
   * The log from its beginning, as it grows, until the job is terminal and the log has been read to its end. Texts are cut between code points.
   * @param load the job's record now; undefined when it was deleted.
   */
  async *tail(load: () => Promise<JobRecord | undefined>, signal: AbortSignal): AsyncGenerator<string, void> {
    const decoder = new StringDecoder("utf8");
    let offset = 0;
    while (!signal.aborted) {
      // The record first: what the supervisor wrote before it said "ended" is then in the chunk that follows.
      const record = await load();
      if (record === undefined) return;
      const data = record.placement === null ? new Uint8Array(0) : await this.chunk(record, offset);
      if (data.length > 0) {
        offset += data.length;
        const text = decoder.write(Buffer.from(data));
        if (text !== "") yield text;
        continue;
      }
      if (isTerminal(record.status)) {
        const rest = decoder.end() + (record.placement === null ? unplacedText(record) : "");
        if (rest !== "") yield rest;
        return;
      }
      await sleep(this.clock, pollMs, signal).catch(() => undefined); // aborted: the loop ends
    }
  }

  private async chunk(record: JobRecord, offset: number): Promise<Uint8Array> {
    const { placement } = record;
    if (placement === null) return new Uint8Array(0);
    const file = jobLogName(record.submissionId);
    try {
      return (await this.cluster.raylet(placement.raylet).readLog({ file, offset, maxBytes: chunkBytesMax }, { timeoutMs: 10_000, retry: true }))
        .data;
    } catch (error) {
      const local = await readLocal(join(this.localLogsDir, file), offset);
      if (local !== undefined) return local;
      if (isNotThere(error) || isTerminal(record.status)) return new Uint8Array(0); // not written yet, or gone with its node
      throw error;
    }
  }
}

const unplacedText = (record: JobRecord): string => (record.status === "FAILED" ? `${record.message}\n` : "");

const isNotThere = (error: unknown): boolean => typeof error === "object" && error !== null && "code" in error && error.code === "NOT_FOUND";

async function readLocal(path: string, offset: number): Promise<Uint8Array | undefined> {
  const file = await open(path).catch(() => undefined); // another machine's, or not there
  if (file === undefined) return undefined;
  try {
    const buffer = Buffer.alloc(chunkBytesMax);
    const { bytesRead } = await file.read(buffer, 0, chunkBytesMax, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
