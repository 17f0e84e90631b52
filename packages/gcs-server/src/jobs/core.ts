// JobsCore: the drivers that came and went.
//
// Owns:     the record of every job, the counter of job ids.
// Not mine: what a job's end does to actors and functions (../cascade.ts).
//
// Invariants
//   B1. Job ids count up from 1 and are never given twice, over restarts too.
//   B2. One job per driver worker id, however often it registers.
//   B3. Finished is final.
import { invariant } from "@tray/common";
import { type JobInfo, jobIdOf } from "@tray/protocol";
import { History } from "../storage/history.js";
import { MultiMap } from "../storage/multi-map.js";

export class JobsCore {
  private readonly jobs = new Map<string, JobInfo>();
  private readonly byDriver = new Map<string, string>();
  private readonly byNode = new MultiMap();
  private readonly finished: History;
  private last = 0;

  constructor(historyMax: number) {
    this.finished = new History(historyMax);
  }

  /** `last`: the stored counter. */
  replay(jobs: Iterable<JobInfo>, last: number): void {
    this.last = last;
    for (const job of [...jobs].sort((a, b) => a.endWallMs - b.endWallMs)) {
      this.insert(job);
      this.last = Math.max(this.last, Number.parseInt(job.jobId, 16));
      if (job.finished) this.finished.add(job.jobId);
    }
  }

  get(jobId: string): JobInfo | undefined {
    return this.jobs.get(jobId);
  }
  ofDriver(workerId: string): JobInfo | undefined {
    const jobId = this.byDriver.get(workerId);
    return jobId === undefined ? undefined : this.jobs.get(jobId);
  }
  all(): JobInfo[] {
    return [...this.jobs.values()].sort((a, b) => (a.jobId < b.jobId ? -1 : 1));
  }
  /** Unfinished jobs whose driver runs there. */
  onNode(nodeId: string): JobInfo[] {
    return this.byNode.of(nodeId).map((jobId) => this.jobs.get(jobId) as JobInfo);
  }
  get counter(): number {
    return this.last;
  }

  register(wanted: JobInfo, wallMs: number): { job: JobInfo; isNew: boolean } {
    const workerId = wanted.driver?.workerId ?? "";
    invariant(workerId !== "", "a job has a driver with a worker id");
    const known = this.ofDriver(workerId);
    if (known !== undefined) return { job: known, isNew: false }; // B2
    this.last++; // B1
    const job: JobInfo = { ...wanted, jobId: jobIdOf(this.last), finished: false, startWallMs: wallMs, endWallMs: 0 };
    this.insert(job);
    return { job, isNew: true };
  }

  /** @returns undefined when there is no such job or it had finished. */
  finish(jobId: string, wallMs: number): { job: JobInfo; forgotten: string[] } | undefined {
    const before = this.jobs.get(jobId);
    if (before === undefined || before.finished) return undefined; // B3
    const job: JobInfo = { ...before, finished: true, endWallMs: wallMs };
    this.jobs.set(jobId, job);
    this.byNode.delete(job.driver?.nodeId ?? "", jobId);
    const forgotten = this.finished.add(jobId);
    for (const old of forgotten) {
      this.byDriver.delete(this.jobs.get(old)?.driver?.workerId ?? "");
      this.jobs.delete(old);
    }
    return { job, forgotten };
  }

  private insert(job: JobInfo): void {
    this.jobs.set(job.jobId, job);
    if (job.driver === undefined) return;
    this.byDriver.set(job.driver.workerId, job.jobId);
    if (!job.finished) this.byNode.add(job.driver.nodeId, job.jobId);
  }
}
