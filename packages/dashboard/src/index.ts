export type { Cluster } from "./cluster.js";
export { type DashboardHost, type RunningDashboard, startDashboard } from "./dashboard.js";
export { superviseJob, type SuperviseJobHost } from "./job-supervisor/main.js";
export { detailsOfDriver, detailsOfSubmission, type JobDetails } from "./jobs/job-details.js";
export type { JobErrorType, JobRecord, JobStatus } from "./jobs/record.js";
export { RpcCluster } from "./rpc-cluster.js";
