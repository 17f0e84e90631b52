// What a supervisor is told about its job: StartJobRequest.job_json, written by the job loop.
import { TrayError } from "@tray/common";

export interface SupervisorInput {
  readonly attempt: number;
  readonly entrypoint: string;
  readonly runtimeEnv: Readonly<Record<string, unknown>> | null;
  readonly metadata: Readonly<Record<string, string>> | null;
  /** Where the dashboard's machine keeps packages; readable when it is this machine. */
  readonly packagesDir: string;
  readonly dashboardUrl: string;
  readonly stopGraceMs: number;
  readonly setupTimeoutMs: number;
  /** Room that directories of ended jobs may take on a node. */
  readonly dirsBytesMax: number;
  /** The job asked for CPUs or GPUs of its own. */
  readonly hasNeeds: boolean;
}

export function parseInput(json: string): SupervisorInput {
  const input = JSON.parse(json) as Partial<SupervisorInput>;
  if (typeof input.entrypoint !== "string" || typeof input.attempt !== "number")
    throw new TrayError("INVALID_ARGUMENT", "the job has no entrypoint or no attempt number");
  return {
    attempt: input.attempt,
    entrypoint: input.entrypoint,
    runtimeEnv: input.runtimeEnv ?? null,
    metadata: input.metadata ?? null,
    packagesDir: input.packagesDir ?? "",
    dashboardUrl: input.dashboardUrl ?? "",
    stopGraceMs: input.stopGraceMs ?? 3_000,
    setupTimeoutMs: input.setupTimeoutMs ?? 600_000,
    dirsBytesMax: input.dirsBytesMax ?? 10 * 2 ** 30,
    hasNeeds: input.hasNeeds ?? false,
  };
}

/** The runtime environment's `env_vars`, texts only. */
export function envVarsOf(input: SupervisorInput): Record<string, string> {
  const vars = input.runtimeEnv?.["env_vars"] ?? input.runtimeEnv?.["envVars"];
  if (typeof vars !== "object" || vars === null) return {};
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(vars)) if (typeof value === "string") out[name] = value;
  return out;
}
