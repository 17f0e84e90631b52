// What the tasks of one scheduling class need, decoded once.
import type { Requirements, Resources } from "@tray/protocol";
import { type LabelCondition, parseLabelSelector, requestOf, type Strategy } from "@tray/scheduler";
import type { WorkerKind } from "../pool/worker.js";

export interface Shape {
  readonly resources: Resources;
  readonly strategy: Strategy;
  readonly labels: readonly LabelCondition[];
  readonly worker: WorkerKind;
  /** As it came: what the global scheduler is sent. */
  readonly requirements: Requirements;
}

/** @throws INVALID_ARGUMENT for a label selector that cannot be read. */
export function shapeOf(requirements: Requirements): Shape {
  const { resources, strategy, labelSelector } = requestOf(requirements, 1);
  return {
    resources,
    strategy,
    labels: parseLabelSelector(labelSelector),
    worker: { jobId: requirements.jobId, envHash: requirements.runtimeEnvHash, envJson: requirements.runtimeEnvJson },
    requirements,
  };
}
