// Specs: what the user's options of a remote function or an actor say on the wire.
import {
  type ActorSpec,
  type Address,
  type JobId,
  type RefArg,
  type Requirements,
  type SchedulingStrategy,
  taskPrefix,
  type WorkerId,
} from "@tray/protocol";
import type { ActorCreation, TemplateOptions } from "../thread/to-core.js";
import { Template } from "./task-entry.js";

/** The job on whose behalf a process works. */
export interface Job {
  readonly jobId: string;
  readonly namespace: string;
  readonly workingDir: string;
}

const noJob: Job = { jobId: "", namespace: "", workingDir: "" };

export function templateOf(templateId: number, options: TemplateOptions, caller: Address, job: Job = noJob): Template {
  const requirements = requirementsOf(options, options.resources, job);
  const wire = {
    templateId,
    taskPrefix: taskPrefix(job.jobId as JobId, caller.workerId as WorkerId),
    jobId: job.jobId,
    functionId: options.functionId,
    name: options.name,
    numReturns: options.numReturns,
    streaming: options.streaming === true,
    backpressure: options.backpressure ?? 0,
    requirements: options.actorId === undefined ? requirements : undefined,
    caller,
    actorId: options.actorId ?? "",
    method: options.method ?? "",
    namespace: job.namespace,
    maxCalls: options.maxCalls ?? 0,
    concurrencyGroup: options.concurrencyGroup ?? "",
    timeoutMs: options.timeoutMs ?? 0,
    workingDir: job.workingDir,
    retryClassesId: options.retryClassesId ?? "",
  };
  return new Template(templateId, options, wire, requirements);
}

/** args, refs: of its constructor. */
export function actorSpecOf(creation: ActorCreation, args: Uint8Array, refs: RefArg[], owner: Address, job: Job = noJob): ActorSpec {
  return {
    actorId: creation.actorId,
    jobId: job.jobId,
    name: creation.name,
    namespace: creation.namespace,
    className: creation.className,
    functionId: creation.functionId,
    args: args as Buffer,
    refs,
    requirements: requirementsOf(creation, creation.placementResources, job),
    lifetimeResources: { amounts: { ...creation.lifetimeResources } },
    maxRestarts: creation.maxRestarts,
    maxTaskRetries: creation.maxTaskRetries,
    maxConcurrency: creation.maxConcurrency,
    concurrencyGroups: { ...creation.concurrencyGroups },
    detached: creation.detached,
    owner,
    methods: [...creation.methods],
    maxPendingCalls: creation.maxPendingCalls,
    workingDir: job.workingDir,
    streamingMethods: [...creation.streams],
  };
}

function requirementsOf(
  options: Pick<TemplateOptions, "strategy" | "labelSelector">,
  resources: Readonly<Record<string, number>>,
  job: Job,
): Requirements {
  return {
    resources: { amounts: { ...resources } },
    strategy: strategyOf(options.strategy),
    labelSelector: { ...options.labelSelector },
    runtimeEnvJson: "",
    runtimeEnvHash: "",
    jobId: job.jobId,
  };
}

function strategyOf(strategy: TemplateOptions["strategy"]): SchedulingStrategy {
  if (strategy === undefined) return { kind: { $case: "default", value: true } };
  if (strategy.kind === "spread") return { kind: { $case: "spread", value: true } };
  return { kind: { $case: "nodeAffinity", value: { nodeId: strategy.nodeId, soft: strategy.soft } } };
}
