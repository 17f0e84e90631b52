/** Why something waits. Every queued thing carries one; `tray status` counts by them. */
export const waitCauses = {
  "waiting-for-resources": "waiting for resources",
  "waiting-for-arguments": "waiting for arguments",
  "waiting-for-worker": "waiting for a worker to start",
  "worker-start-budget": "too many workers are starting",
  "waiting-for-runtime-env": "waiting for the runtime environment",
  "waiting-for-node": "waiting for a node",
  "waiting-for-object-store": "waiting for room in the object store",
  infeasible: "infeasible",
} as const;

export type WaitCause = keyof typeof waitCauses;
