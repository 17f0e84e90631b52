// tray submit and tray job …
import { parseSize, sleep } from "@tray/common";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Interrupted } from "../context.js";
import { type DashboardClient, isTerminal, type JobDetails, openDashboard } from "../dashboard-client.js";
import { CliFailure, exitCodes } from "../failure.js";
import type { Session } from "../globals.js";
import { printListing, printValue } from "../output/format.js";
import { rfc3339 } from "../output/units.js";
import { uploadWorkingDir } from "../package/upload.js";
import { parseJsonObject, parseLabels } from "./node-settings.js";
import { PreambleSplitter } from "./preamble.js";

export interface SubmitFlags {
  workingDir?: string;
  runtimeEnv?: string;
  runtimeEnvJson?: string;
  submissionId?: string;
  entrypointNumCpus?: string;
  entrypointNumGpus?: string;
  entrypointMemory?: string;
  entrypointResources?: string;
  entrypointLabelSelector?: string;
  metadata?: string[];
  wait?: boolean;
}

const pollMs = 200;

export async function submit(session: Session, command: readonly string[], flags: SubmitFlags): Promise<number> {
  if (command.length === 0) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", "there is nothing to run", "tray submit -- node main.js");
  const runtimeEnv = await readRuntimeEnv(flags);
  const body = {
    entrypoint: entrypointOf(command),
    ...(flags.submissionId === undefined ? {} : { submission_id: flags.submissionId }),
    runtime_env: runtimeEnv,
    metadata: metadataOf(flags.metadata ?? []),
    ...quantityOf("entrypoint_num_cpus", "--entrypoint-num-cpus", flags.entrypointNumCpus),
    ...quantityOf("entrypoint_num_gpus", "--entrypoint-num-gpus", flags.entrypointNumGpus),
    ...(flags.entrypointMemory === undefined ? {} : { entrypoint_memory: parseSize(flags.entrypointMemory, "--entrypoint-memory") }),
    ...(flags.entrypointResources === undefined
      ? {}
      : { entrypoint_resources: parseJsonObject(flags.entrypointResources, "--entrypoint-resources") }),
    ...(flags.entrypointLabelSelector === undefined ? {} : { entrypoint_label_selector: parseLabels(flags.entrypointLabelSelector) }),
  };
  const client = await openDashboard(session);
  const workingDir = flags.workingDir ?? (typeof runtimeEnv["working_dir"] === "string" ? runtimeEnv["working_dir"] : undefined);
  if (workingDir !== undefined && !/^[a-z][a-z0-9+.-]*:\/\//.test(workingDir)) {
    const excludes = Array.isArray(runtimeEnv["excludes"]) ? runtimeEnv["excludes"].map(String) : [];
    runtimeEnv["working_dir"] = await uploadWorkingDir(client, resolve(session.context.cwd, workingDir), excludes, (text) => session.say(text));
  } else if (workingDir !== undefined) runtimeEnv["working_dir"] = workingDir;
  const id = await client.submit(body);
  const structured = session.format === "json" || session.format === "yaml";
  if (flags.wait === false) {
    if (structured) await printValue(session.context, session.format, { submissionId: id });
    else if (session.format === "name") session.context.stdout.write(`${id}\n`);
    else {
      session.context.stdout.write(`${id}\n`);
      session.say(`follow it with: tray job logs -f ${id}`);
    }
    return exitCodes.ok;
  }
  session.say(`job ${id} submitted`);
  const out = structured ? session.context.stderr : session.context.stdout;
  const log = PreambleSplitter.forJob(
    id,
    body.entrypoint,
    (text) => (session.flags.verbose === true ? session.context.stderr.write(text) : undefined),
    (text) => out.write(text),
  );
  const job = await follow(session, client, id, (text) => log.write(text)).finally(() => log.end());
  if (structured) await printValue(session.context, session.format, job);
  return verdict(session, id, job);
}

/** A TypeScript or JavaScript file, and what is passed to it, is run by tray itself; a single text is a command line; several are its words. */
export function entrypointOf(command: readonly string[]): string {
  const [first = ""] = command;
  const words = command.map(quote).join(" ");
  if (/^[^\s]+\.[cm]?[jt]sx?$/.test(first)) return `tray run ${words}`;
  return command.length === 1 ? first : words;
}

/** As a POSIX shell reads it back as one word. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

async function readRuntimeEnv(flags: SubmitFlags): Promise<Record<string, unknown>> {
  if (flags.runtimeEnv !== undefined && flags.runtimeEnvJson !== undefined)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", "--runtime-env and --runtime-env-json exclude each other");
  if (flags.runtimeEnvJson !== undefined) return parseJsonObject(flags.runtimeEnvJson, "--runtime-env-json");
  if (flags.runtimeEnv === undefined) return {};
  const { parseDocument, LineCounter } = await import("yaml");
  let text: string;
  try {
    text = readFileSync(flags.runtimeEnv, "utf8");
  } catch (error) {
    throw new CliFailure(exitCodes.usage, "NOT_FOUND", `--runtime-env: cannot read ${flags.runtimeEnv}: ${(error as NodeJS.ErrnoException).code}`);
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const [problem] = document.errors;
  if (problem !== undefined) {
    const { line, col } = lineCounter.linePos(problem.pos[0]);
    throw new CliFailure(exitCodes.usage, "CONFIG", `${flags.runtimeEnv}:${line}:${col}: ${problem.message}`);
  }
  const value: unknown = document.toJS() ?? {};
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new CliFailure(exitCodes.usage, "CONFIG", `${flags.runtimeEnv}:1:1: a runtime environment is a map of keys`);
  return value as Record<string, unknown>;
}

function metadataOf(pairs: readonly string[]): Record<string, string> {
  const out: Record<string, string> = {};
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at <= 0) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--metadata: '${pair}' is not key=value`);
    out[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return out;
}

function quantityOf(key: string, flag: string, text: string | undefined): Record<string, number> {
  if (text === undefined) return {};
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0)) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${flag}: '${text}' is not a quantity`);
  return { [key]: value };
}

/** Until the job has ended. @throws CliFailure TIMEOUT after --timeout, Interrupted at a signal; the job goes on after either. */
async function follow(session: Session, client: DashboardClient, id: string, write: (text: string) => void): Promise<JobDetails> {
  return await withDeadline(session, id, async (signal) => {
    await client.tail(id, write, signal);
    return await client.job(id);
  });
}

async function withDeadline<T>(session: Session, id: string, wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { context, timeoutMs } = session;
  const late = new AbortController();
  const timer =
    timeoutMs === undefined
      ? undefined
      : context.clock.after(timeoutMs, () =>
          late.abort(
            new CliFailure(
              exitCodes.timeout,
              "TIMEOUT",
              `job ${id} has not ended after ${session.flags.timeout}; it goes on`,
              `follow it with: tray job logs -f ${id}`,
            ),
          ),
        );
  try {
    return await wait(AbortSignal.any([context.interruption, late.signal]));
  } catch (error) {
    if (error instanceof Interrupted)
      session.say(`\njob ${id} goes on. Follow it with: tray job logs -f ${id}          Stop it with: tray job stop ${id}`);
    throw error;
  } finally {
    timer?.cancel();
  }
}

function verdict(session: Session, id: string, job: JobDetails): number {
  if (job.status === "SUCCEEDED") {
    session.say(`job ${id} succeeded`);
    return exitCodes.ok;
  }
  session.say(job.status === "STOPPED" ? `job ${id} was stopped` : `job ${id} failed: ${job.message ?? ""}`);
  return exitCodes.failed;
}

export async function jobList(session: Session): Promise<void> {
  const jobs = await (await openDashboard(session)).jobs();
  await printListing(session.context, session.format, {
    items: jobs,
    total: jobs.length,
    columns: [
      { title: "SUBMISSION", value: (j) => j.submission_id ?? "-" },
      { title: "JOB", value: (j) => j.job_id ?? "-" },
      { title: "TYPE", value: (j) => j.type },
      { title: "STATUS", value: (j) => j.status },
      { title: "STARTED", value: (j) => rfc3339(j.start_time ?? 0) ?? "-" },
      { title: "ENDED", value: (j) => rfc3339(j.end_time ?? 0) ?? "-", wide: true },
      { title: "ENTRYPOINT", value: (j) => j.entrypoint },
    ],
    name: (j) => j.submission_id ?? j.job_id ?? "",
    none: "no jobs",
  });
}

export async function jobStatus(session: Session, id: string): Promise<number> {
  const job = await (await openDashboard(session)).job(id);
  if (session.format === "json" || session.format === "yaml") await printValue(session.context, session.format, job);
  else if (session.format === "name") session.context.stdout.write(`${job.status}\n`);
  else session.context.stdout.write(`${job.status}${job.message === null ? "" : `  ${job.message}`}\n`);
  return exitCodes.ok;
}

export async function jobLogs(session: Session, id: string, flags: { follow?: boolean }): Promise<number> {
  const client = await openDashboard(session);
  if (flags.follow !== true) {
    const logs = await client.logs(id);
    if (session.format === "json") await printValue(session.context, "json", { logs });
    else session.context.stdout.write(logs);
    return exitCodes.ok;
  }
  return verdict(session, id, await follow(session, client, id, (text) => session.context.stdout.write(text)));
}

export async function jobStop(session: Session, id: string, flags: { wait?: boolean }): Promise<number> {
  const client = await openDashboard(session);
  const stopped = await client.stop(id);
  const job = flags.wait === false ? await client.job(id) : await untilTerminal(session, client, id);
  if (session.format === "json" || session.format === "yaml") await printValue(session.context, session.format, { stopped, status: job.status });
  else session.say(stopped ? `job ${id}: ${job.status}` : `job ${id} had ended already: ${job.status}`);
  return exitCodes.ok;
}

export async function jobWait(session: Session, id: string): Promise<number> {
  const client = await openDashboard(session);
  const job = await untilTerminal(session, client, id);
  if (session.format === "json" || session.format === "yaml") await printValue(session.context, session.format, job);
  return verdict(session, id, job);
}

export async function jobDelete(session: Session, id: string): Promise<number> {
  await (await openDashboard(session)).delete(id);
  session.say(`job ${id} deleted`);
  return exitCodes.ok;
}

async function untilTerminal(session: Session, client: DashboardClient, id: string): Promise<JobDetails> {
  return await withDeadline(session, id, async (signal) => {
    for (;;) {
      const job = await client.job(id).catch((error: unknown) => {
        if (error instanceof CliFailure && error.exitCode === exitCodes.unreachable) return undefined; // the dashboard is being restarted
        throw error;
      });
      if (job !== undefined && isTerminal(job)) return job;
      await sleep(session.context.clock, pollMs, signal);
    }
  });
}
