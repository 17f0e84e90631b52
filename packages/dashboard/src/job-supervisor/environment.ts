// The environment of an entrypoint: the node's, what the job asked for, and what connects a driver in it to this cluster and this submission.
import { tlsDirVariable } from "@tray/node-launcher";
import type { SupervisorInput } from "./input.js";
import { envVarsOf } from "./input.js";

export interface JobPlace {
  readonly submissionId: string;
  readonly gcsAddress: string;
  readonly tokenFile: string | undefined;
  readonly tlsDir: string | undefined;
  /** The entrypoint's working directory. */
  readonly cwd: string;
  /** Directory that holds the `tray` launcher. */
  readonly launcherDir: string;
  /** Directory that holds the `tray` package, for `require`. */
  readonly modulesDir: string;
  /** Preloaded into every Node of the job: finds `tray`, runs TypeScript entry files. */
  readonly hookFile: string;
}

/** Variables of the supervisor itself, and Ray's that it does not pass on either. */
const hidden = ["RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING", "TRAY_RPC_FAULTS"];

export function entrypointEnvironment(
  base: Readonly<Record<string, string | undefined>>,
  input: SupervisorInput,
  place: JobPlace,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(base)) if (value !== undefined && !hidden.includes(name)) env[name] = value;
  for (const [name, value] of Object.entries(envVarsOf(input))) env[name] = expand(value, env);

  const prefix = (name: string, value: string): void => {
    const old = env[name];
    env[name] = old === undefined || old === "" ? value : `${value}:${old}`;
  };
  prefix("PATH", place.launcherDir);
  prefix("PYTHONPATH", place.cwd);
  // After the job's own: its node_modules and its NODE_PATH say which `tray` it wants.
  env["NODE_PATH"] = env["NODE_PATH"] === undefined || env["NODE_PATH"] === "" ? place.modulesDir : `${env["NODE_PATH"]}:${place.modulesDir}`;
  env["NODE_OPTIONS"] = `${env["NODE_OPTIONS"] ?? ""} --require ${JSON.stringify(place.hookFile)}`.trim();
  env["PYTHONUNBUFFERED"] = "1";
  env["TRAY_ADDRESS"] = place.gcsAddress;
  env["RAY_ADDRESS"] = place.gcsAddress;
  env["TRAY_JOB_SUBMISSION_ID"] = place.submissionId;
  if (place.tokenFile !== undefined) env["TRAY_AUTH_TOKEN_PATH"] = place.tokenFile;
  // Whether this cluster speaks TLS is nobody else's to say.
  if (place.tlsDir === undefined) delete env[tlsDirVariable];
  else env[tlsDirVariable] = place.tlsDir;
  if (!input.hasNeeds) env["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1";
  const config = {
    runtime_env: input.runtimeEnv ?? {},
    metadata: { job_submission_id: place.submissionId, job_name: place.submissionId, ...input.metadata },
  };
  env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = JSON.stringify(config);
  return env;
}

/** `${VAR}` from what is set already; unknown ones become empty. */
function expand(value: string, env: Readonly<Record<string, string>>): string {
  return value.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => env[name] ?? "");
}
