// JobService: what the Jobs HTTP API does, apart from HTTP.
import type { Clock, Random } from "@tray/common";
import type { JobInfo } from "@tray/protocol";
import type { Cluster } from "../cluster.js";
import { detailsOfDriver, detailsOfSubmission, driversBySubmission, type JobDetails } from "./job-details.js";
import type { JobLogs } from "./job-logs.js";
import type { JobLoop } from "./job-loop.js";
import type { JobStore } from "./job-store.js";
import { isTerminal, type JobRecord, newRecord, requestStop } from "./record.js";
import { InvalidRequest, newSubmissionId, parseSubmitRequest } from "./submit-request.js";

/** A job as its id finds it: a submission, or a driver that nobody submitted. */
export type FoundJob =
  | { readonly kind: "submission"; readonly record: JobRecord; readonly driver: JobInfo | undefined }
  | { readonly kind: "driver"; readonly job: JobInfo };

export interface JobServiceOptions {
  readonly store: JobStore;
  readonly cluster: Cluster;
  readonly loop: JobLoop;
  readonly logs: JobLogs;
  readonly clock: Clock;
  readonly random: Random;
  readonly agentUrl: () => string;
}

export class JobService {
  constructor(private readonly options: JobServiceOptions) {}

  get logs(): JobLogs {
    return this.options.logs;
  }

  /** @returns the submission id. @throws InvalidRequest */
  async submit(body: unknown): Promise<string> {
    const request = parseSubmitRequest(body);
    const submissionId = request.submissionId ?? newSubmissionId(this.options.random);
    const { entrypoint, metadata, runtimeEnv, needs } = request;
    const record = newRecord({ submissionId, entrypoint, metadata, runtimeEnv, needs }, this.options.clock.wallMs());
    if (!(await this.options.store.create(record))) {
      throw new InvalidRequest(`Job with submission_id ${submissionId} already exists. Please use a different submission_id.`);
    }
    this.options.loop.wake();
    return submissionId;
  }

  async list(): Promise<JobDetails[]> {
    const [records, { jobs }] = await Promise.all([this.options.store.list(), this.options.cluster.gcs.listJobs({}, { retry: true })]);
    const drivers = driversBySubmission(jobs);
    const submitted = new Set(records.map((r) => r.submissionId));
    const alone = jobs.filter((job) => !submitted.has(job.submissionId) && !job.namespace.startsWith("_ray_internal_"));
    return [
      ...records.map((r) => detailsOfSubmission(r, drivers.get(r.submissionId), this.options.agentUrl())),
      ...alone.sort((a, b) => (a.jobId < b.jobId ? -1 : 1)).map(detailsOfDriver),
    ];
  }

  /** By driver job id or submission id. */
  async find(id: string): Promise<FoundJob | undefined> {
    const { jobs } = await this.options.cluster.gcs.listJobs({}, { retry: true });
    const job = jobs.find((j) => j.jobId === id);
    if (job !== undefined && job.submissionId === "") return { kind: "driver", job };
    const record = await this.options.store.get(job?.submissionId ?? id);
    if (record === undefined) return job === undefined ? undefined : { kind: "driver", job };
    return { kind: "submission", record, driver: driversBySubmission(jobs).get(record.submissionId) };
  }

  details(found: FoundJob): JobDetails {
    return found.kind === "driver" ? detailsOfDriver(found.job) : detailsOfSubmission(found.record, found.driver, this.options.agentUrl());
  }

  record(submissionId: string): Promise<JobRecord | undefined> {
    return this.options.store.get(submissionId);
  }

  /** @returns false when it had ended already. */
  async stop(submissionId: string): Promise<boolean> {
    const updated = await this.options.store.update(submissionId, (r) => requestStop(r, this.options.clock.wallMs()));
    this.options.loop.wake();
    return updated !== undefined && updated.refused !== "terminal";
  }

  async delete(submissionId: string): Promise<"deleted" | "refused" | "missing"> {
    return await this.options.store.delete(submissionId, (r) => isTerminal(r.status));
  }
}
