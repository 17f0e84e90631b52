import type { Clock, Logger } from "@tray/common";
import type { JobInfo } from "@tray/protocol";
import type { Table } from "@tray/storage";
import type { Cascade } from "../cascade.js";
import { type GcsHandlers, required } from "../handlers.js";
import type { PubSubHub } from "../pubsub/hub.js";
import type { Journal } from "../storage/journal.js";
import type { RecordTable } from "../storage/record-table.js";
import type { JobsCore } from "./core.js";

/** The stored counter of job ids, as text. */
export const jobCounterKey = "lastJob";

export interface JobServiceOptions {
  jobs: JobsCore;
  table: RecordTable<JobInfo>;
  counters: Table;
  journal: Journal;
  cascade: Cascade;
  hub: PubSubHub;
  clock: Clock;
  logger: Logger;
  sessionName: string;
}

export function jobHandlers(o: JobServiceOptions): Pick<GcsHandlers, "registerJob" | "finishJob" | "listJobs"> {
  return {
    registerJob: async ({ job: wanted }) => {
      required(wanted?.driver?.workerId, "job.driver.workerId");
      const { job, isNew } = o.jobs.register(required(wanted, "job"), o.clock.wallMs());
      if (isNew) {
        o.table.put(job.jobId, job);
        o.journal.mark(o.counters, jobCounterKey, () => Buffer.from(String(o.jobs.counter), "utf8"));
        o.journal.whenDurable(() => o.hub.publish(`job/${job.jobId}`, { $case: "job", value: job }));
        o.logger.info("job registered", { jobId: job.jobId, driver: job.driver?.workerId, entrypoint: job.entrypoint });
      }
      await o.journal.durable();
      return { job, sessionName: o.sessionName };
    },

    finishJob: async ({ jobId, driverWorkerId }) => {
      const id = jobId === "" ? o.jobs.ofDriver(driverWorkerId)?.jobId : jobId;
      if (id !== undefined) o.cascade.jobFinished(id);
      await o.journal.durable();
      return {};
    },

    listJobs: async () => {
      await o.journal.durable();
      return { jobs: o.jobs.all() };
    },
  };
}
