// The 15 keys of Ray's JobDetails, in its order. Extra keys would be ignored by its client, missing ones not always.
import type { JobInfo } from "@tray/protocol";
import type { JobErrorType, JobRecord, JobStatus } from "./record.js";

export interface JobDetails {
  type: "SUBMISSION" | "DRIVER";
  job_id: string | null;
  submission_id: string | null;
  driver_info: { id: string; node_ip_address: string; pid: string } | null;
  status: JobStatus;
  entrypoint: string;
  message: string | null;
  error_type: JobErrorType | null;
  start_time: number | null;
  end_time: number | null;
  metadata: Readonly<Record<string, string>> | null;
  runtime_env: Readonly<Record<string, unknown>> | null;
  driver_agent_http_address: string | null;
  driver_node_id: string | null;
  driver_exit_code: number | null;
}

/** `driver`: the last driver that connected from this submission. `agentUrl`: where the job's HTTP interface is. */
export function detailsOfSubmission(record: JobRecord, driver: JobInfo | undefined, agentUrl: string): JobDetails {
  const started = record.supervisor !== null;
  return {
    type: "SUBMISSION",
    job_id: driver?.jobId ?? null,
    submission_id: record.submissionId,
    driver_info: driver === undefined ? null : driverInfo(driver),
    status: record.status,
    entrypoint: record.entrypoint,
    message: record.message,
    error_type: record.errorType,
    start_time: record.startMs,
    end_time: record.endMs,
    metadata: record.metadata,
    runtime_env: record.runtimeEnv,
    driver_agent_http_address: started ? agentUrl : null,
    driver_node_id: started ? (record.placement?.nodeId ?? null) : null,
    driver_exit_code: record.exitCode,
  };
}

export function detailsOfDriver(job: JobInfo): JobDetails {
  return {
    type: "DRIVER",
    job_id: job.jobId,
    submission_id: null,
    driver_info: driverInfo(job),
    status: job.finished ? "SUCCEEDED" : "RUNNING",
    entrypoint: job.entrypoint,
    message: null,
    error_type: null,
    start_time: Math.floor(job.startWallMs),
    end_time: Math.floor(job.endWallMs),
    metadata: job.metadata,
    runtime_env: parseObject(job.runtimeEnvJson),
    driver_agent_http_address: null,
    driver_node_id: job.driver?.nodeId || null,
    driver_exit_code: null,
  };
}

/** The last driver of each submission: a retried entrypoint may connect several times. */
export function driversBySubmission(jobs: readonly JobInfo[]): Map<string, JobInfo> {
  const last = new Map<string, JobInfo>();
  for (const job of jobs) {
    if (job.submissionId === "") continue;
    const seen = last.get(job.submissionId);
    if (seen === undefined || seen.startWallMs <= job.startWallMs) last.set(job.submissionId, job);
  }
  return last;
}

const driverInfo = (job: JobInfo): { id: string; node_ip_address: string; pid: string } => ({
  id: job.jobId,
  node_ip_address: job.driverHost,
  pid: String(job.driverPid),
});

function parseObject(json: string): Record<string, unknown> | null {
  if (json === "") return null;
  const value: unknown = JSON.parse(json);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}
