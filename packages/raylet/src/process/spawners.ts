// Real worker and supervisor processes.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "@tray/common";
import { type JobSupervisorProcessConfig, processConfigVariable, type WorkerProcessConfig } from "@tray/protocol";
import type { SpawnedProcess, SupervisorSpawner, WorkerLaunch, WorkerSpawner } from "../pool/spawner.js";
import { spawnChild } from "./child.js";
import type { PidRecord } from "./pid-record.js";

export interface ProcessSpawnerOptions {
  readonly clock: Clock;
  /** Of the raylet; children get it with their own configuration file's name. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pids: PidRecord;
  /** Where configuration files of processes are written while they run; made when missing, mode 0700. */
  readonly configDir: string;
  readonly logsDir: string;
  /** Per file; one older generation is kept. */
  readonly logBytesMax: number;
  readonly workerCommand: readonly string[];
  readonly supervisorCommand: readonly string[] | undefined;
  /** What all workers of this node are told. */
  readonly worker: Omit<WorkerProcessConfig, "workerId" | "startToken" | "rayletAddress" | "logFile" | "jobId" | "runtimeEnvJson">;
  readonly supervisor: Omit<JobSupervisorProcessConfig, "submissionId" | "jobJson">;
}

export class ProcessSpawners implements WorkerSpawner {
  constructor(private readonly options: ProcessSpawnerOptions) {
    mkdirSync(options.configDir, { recursive: true, mode: 0o700 });
    mkdirSync(options.logsDir, { recursive: true });
  }

  spawn(launch: WorkerLaunch): SpawnedProcess {
    const { logsDir, worker, workerCommand } = this.options;
    const { workerId, startToken, rayletAddress, envJson } = launch;
    const config: WorkerProcessConfig = {
      ...worker,
      workerId,
      startToken,
      rayletAddress,
      logFile: join(logsDir, `worker-${workerId}.log`),
      jobId: "",
      runtimeEnvJson: envJson,
    };
    return this.launch(workerCommand, `worker-${workerId}`, config, envVarsOf(envJson), {
      logPath: (pid) => join(logsDir, `worker-${workerId}-${pid}`),
      onLines: launch.onLines,
    });
  }

  /** Supervisors write their jobs' logs themselves. */
  readonly supervisors: SupervisorSpawner = {
    spawn: ({ submissionId, jobJson }) =>
      this.launch(
        this.options.supervisorCommand ?? [],
        `job-${submissionId.replace(/[^A-Za-z0-9._-]/g, "_")}`,
        { ...this.options.supervisor, submissionId, jobJson },
        {},
        {},
      ),
  };

  private launch(
    command: readonly string[],
    name: string,
    config: object,
    envVars: Readonly<Record<string, string>>,
    output: { logPath?: (pid: number) => string; onLines?: WorkerLaunch["onLines"] },
  ): SpawnedProcess {
    const { clock, configDir, logBytesMax, pids } = this.options;
    const configFile = join(configDir, `${name}.json`);
    const env: Record<string, string> = {};
    for (const [key, value] of Object.entries(this.options.env)) if (value !== undefined) env[key] = value;
    let pid = 0;
    try {
      writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 });
    } catch (error) {
      return {
        pid: 0,
        exited: Promise.resolve({ code: null, signal: "", stderrTail: [], failure: `its configuration cannot be written: ${String(error)}` }),
        kill: () => undefined,
      };
    }
    return spawnChild({
      clock,
      command,
      env: { ...env, ...envVars, [processConfigVariable]: configFile },
      mark: `${processConfigVariable}=${configFile}`,
      logBytesMax,
      ...output,
      onSpawned: (spawned) => {
        pid = spawned;
        pids.add(spawned);
      },
      onExited: () => {
        pids.remove(pid);
        rmSync(configFile, { force: true });
      },
    });
  }
}

/** Variables that the runtime environment sets for the process. What else it asks for, the worker does itself. */
function envVarsOf(envJson: string): Record<string, string> {
  if (envJson === "") return {};
  try {
    const { envVars } = JSON.parse(envJson) as { envVars?: Record<string, unknown> };
    const out: Record<string, string> = {};
    for (const [name, value] of Object.entries(envVars ?? {})) if (typeof value === "string") out[name] = value;
    return out;
  } catch {
    return {}; // the worker refuses it with a message that reaches the user
  }
}
