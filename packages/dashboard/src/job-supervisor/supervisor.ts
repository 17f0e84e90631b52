// JobSupervisor: runs one submitted job on this node, from its working directory to its terminal status.
//
// Owns:     the job's processes and log on this node; the record's move to RUNNING and to its end.
// Not mine: where the job runs (jobs/job-loop.ts), the record's rules (jobs/record.ts).
// Crosses:  in: stop(), hostGone().  out: record changes, processes.
//
// Invariants
//   V1. The entrypoint starts only after RUNNING was recorded for this attempt; whoever loses that race starts nothing.
//   V2. When this ends, no process of the job is left: also after a normal end, where the entrypoint left some behind.
//   V3. A stop that arrives before the entrypoint's end makes the job STOPPED, whatever the entrypoint's exit code.
import { type Clock, deferred, type Logger, messageOf, sleep } from "@tray/common";
import type { JobStore } from "../jobs/job-store.js";
import { finish, type JobErrorType, type JobRecord, type Outcome, run } from "../jobs/record.js";
import { type Entrypoint, startEntrypoint } from "./entrypoint.js";
import { entrypointEnvironment, type JobPlace } from "./environment.js";
import { envVarsOf, type SupervisorInput } from "./input.js";
import type { JobLog } from "./job-log.js";
import { endProcesses, processesOfJob } from "./process-tree.js";

export interface JobSupervisorOptions {
  readonly submissionId: string;
  readonly input: SupervisorInput;
  readonly store: JobStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly log: JobLog;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  /** Where this process answers, for the job loop's watch. */
  readonly self: NonNullable<JobRecord["supervisor"]>;
  readonly place: Omit<JobPlace, "cwd" | "submissionId">;
  readonly prepareWorkingDir: (signal: AbortSignal) => Promise<string>;
}

type Interruption = "stop" | "host-gone";

export class JobSupervisor {
  private readonly interrupted = deferred<Interruption>();
  private readonly interruption = new AbortController();
  private reason: Interruption | undefined;

  constructor(private readonly options: JobSupervisorOptions) {}

  /** Ends the job as STOPPED. */
  stop(): void {
    this.interrupt("stop");
  }
  /** The raylet of this node has ended: the job ends at once and without grace. */
  hostGone(): void {
    this.interrupt("host-gone");
  }

  /** Runs the job to its end. Failures to reach the GCS are waited out. */
  async run(): Promise<void> {
    const { log, clock } = this.options;
    log.info(clock.wallMs(), "Runtime env is setting up.");
    let cwd: string;
    try {
      cwd = await this.prepare();
    } catch (error) {
      if (this.reason !== undefined) return await this.endInterrupted(this.reason);
      return await this.fail("RUNTIME_ENV_SETUP_FAILURE", `runtime_env setup failed: ${messageOf(error)}`);
    }
    if (this.reason !== undefined) return await this.endInterrupted(this.reason);
    const { submissionId, input, store, self } = this.options;
    const started = await this.persist(() => store.update(submissionId, (r) => run(r, input.attempt, self, clock.wallMs())));
    if (started?.applied !== true || started.record.status !== "RUNNING") {
      this.options.logger.info("nothing to run", { submissionId, refused: started?.refused ?? "no record" }); // V1
      return;
    }
    log.write(`Running entrypoint for job ${submissionId}: ${input.entrypoint}\n`);
    const env = entrypointEnvironment(this.options.env, input, { ...this.options.place, cwd, submissionId });
    let entrypoint: Entrypoint;
    try {
      entrypoint = await startEntrypoint(input.entrypoint, { cwd, env, logFd: log.fd, submissionId });
    } catch (error) {
      return await this.fail("JOB_ENTRYPOINT_COMMAND_START_ERROR", error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    await this.attend(entrypoint);
  }

  private async prepare(): Promise<string> {
    const { input, clock } = this.options;
    const config = input.runtimeEnv?.["config"];
    const seconds =
      typeof config === "object" && config !== null && "setup_timeout_seconds" in config ? Number(config.setup_timeout_seconds) : undefined;
    const timeoutMs = seconds === undefined || Number.isNaN(seconds) ? input.setupTimeoutMs : seconds < 0 ? undefined : seconds * 1000;
    const late = new AbortController();
    const timer = timeoutMs === undefined ? undefined : clock.after(timeoutMs, () => late.abort(new Error(`it took longer than ${timeoutMs} ms`)));
    try {
      return await this.options.prepareWorkingDir(AbortSignal.any([this.interruption.signal, late.signal]));
    } finally {
      timer?.cancel();
    }
  }

  private async attend(entrypoint: Entrypoint): Promise<void> {
    const { submissionId, log, clock, pid } = this.options;
    const list = () => processesOfJob(submissionId, entrypoint.pid, pid);
    const first = await Promise.race([entrypoint.exited, this.interrupted.promise]);
    if (typeof first === "number" && this.reason === undefined) {
      await endProcesses(list, "SIGKILL", 0, clock); // V2
      entrypoint.dismissGuard();
      if (first === 0) return await this.end({ status: "SUCCEEDED", exitCode: 0 });
      return await this.end({ status: "FAILED", errorType: "JOB_ENTRYPOINT_COMMAND_ERROR", exitCode: first, message: log.failureMessage(first) });
    }
    const { signal, graceMs } = this.stopTerms();
    await endProcesses(list, signal, this.reason === "stop" ? graceMs : 0, clock); // V3
    entrypoint.dismissGuard();
    await this.endInterrupted(this.reason ?? "stop");
  }

  /** How to stop, which the job's own variables may say. */
  private stopTerms(): { signal: NodeJS.Signals; graceMs: number } {
    const vars = { ...this.options.env, ...envVarsOf(this.options.input) };
    const seconds = Number(vars["RAY_JOB_STOP_WAIT_TIME_S"] ?? Number.NaN);
    return {
      signal: vars["RAY_JOB_STOP_SIGNAL"] === "SIGINT" ? "SIGINT" : "SIGTERM",
      graceMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : this.options.input.stopGraceMs,
    };
  }

  private endInterrupted(reason: Interruption): Promise<void> {
    if (reason === "stop") return this.end({ status: "STOPPED" });
    return this.end({
      status: "FAILED",
      errorType: "JOB_SUPERVISOR_ACTOR_DIED",
      message: "Job supervisor actor died: the raylet of its node has ended",
    });
  }

  private async fail(errorType: JobErrorType, message: string): Promise<void> {
    this.options.log.write(`${message}\n`);
    await this.end({ status: "FAILED", errorType, message });
  }

  private async end(outcome: Outcome): Promise<void> {
    const { store, submissionId, input, clock } = this.options;
    const atMs = clock.wallMs();
    const ended = this.persist(() =>
      store.update(submissionId, (r) => (r.attempts !== input.attempt ? { refused: "stale-attempt" } : finish(r, outcome, atMs))),
    );
    // With the node gone the GCS may be gone too; then the job loop of whoever comes back says how the job ended.
    await (this.reason === "host-gone" ? Promise.race([ended, sleep(clock, 5_000)]) : ended);
  }

  private interrupt(reason: Interruption): void {
    if (this.reason === "host-gone") return;
    this.reason = reason;
    this.interruption.abort(new Error(reason));
    this.interrupted.resolve(reason);
  }

  /** Until the GCS has answered: what a job came to must not be lost because the GCS was just being restarted. */
  private async persist<T>(write: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await write();
      } catch (error) {
        this.options.logger.warn("the GCS did not take a job's status; trying again", { error: messageOf(error) });
        await sleep(this.options.clock, 200);
      }
    }
  }
}
