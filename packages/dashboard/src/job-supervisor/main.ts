// The job supervisor's process, wired.
import { type Clock, type Logger, messageOf, type Random } from "@tray/common";
import { isAlive, type TlsIdentity } from "@tray/node-launcher";
import { GcsService, type JobSupervisorProcessConfig } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { jobLogName } from "../jobs/job-logs.js";
import { JobStore } from "../jobs/job-store.js";
import { parseInput } from "./input.js";
import { JobDirs } from "./job-dirs.js";
import { JobLog } from "./job-log.js";
import { JobSupervisor } from "./supervisor.js";
import { prepareWorkingDir } from "./working-dir.js";

export interface SuperviseJobHost {
  readonly endpoint: Endpoint;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly token: string | undefined;
  readonly tls: TlsIdentity | undefined;
  readonly execPath: string;
  /** packages/tray: what `tray` means in jobs without one of their own. */
  readonly packageDir: string;
  onStop(fn: () => void): void;
}

const hostPollMs = 250;

/** Runs the job to its end; resolves when its last status is recorded and its processes are gone. */
export async function superviseJob(config: JobSupervisorProcessConfig, host: SuperviseJobHost): Promise<void> {
  const { endpoint, clock, logger } = host;
  const input = parseInput(config.jobJson);
  const dirs = new JobDirs(join(config.sessionDir, "jobs", "work"), input.dirsBytesMax);
  const jobDir = dirs.dirOf(config.submissionId);
  const log = new JobLog(join(config.sessionDir, "logs", jobLogName(config.submissionId)));
  const address = await endpoint.listen(`${config.bindHost}:0`);
  const gcs = endpoint.connect(config.gcsAddress, { reconnect: "forever" });
  const place = makeLaunchers(join(config.sessionDir, "jobs"), host);
  const supervisor = new JobSupervisor({
    submissionId: config.submissionId,
    input,
    store: new JobStore(gcs.client(GcsService)),
    clock,
    logger,
    log,
    env: host.env,
    pid: host.pid,
    self: { address: `${config.advertiseHost}:${address.slice(address.lastIndexOf(":") + 1)}`, incarnation: host.incarnation, pid: host.pid },
    place: { gcsAddress: config.gcsAddress, tokenFile: config.tokenFile, tlsDir: config.tlsDir, ...place },
    prepareWorkingDir: (signal) => prepareWorkingDir(input, jobDir, { token: host.token, ca: host.tls?.ca }, signal),
  });
  host.onStop(() => supervisor.stop());
  await dirs.claim(config.submissionId, host.pid);
  const watch = clock.every(hostPollMs, () => {
    if (!isAlive(config.watchPid)) supervisor.hostGone();
  });
  try {
    await supervisor.run();
  } finally {
    watch.cancel();
    log.close();
    await tidy(dirs, config.submissionId, host);
    await endpoint.close();
  }
}

/** What a job leaves is no reason for it to fail. */
async function tidy(dirs: JobDirs, submissionId: string, { clock, logger }: SuperviseJobHost): Promise<void> {
  try {
    await dirs.release(submissionId, clock.wallMs());
    const removed = await dirs.prune(clock.wallMs());
    if (removed.length > 0) logger.info("removed directories of ended jobs", { removed });
  } catch (error) {
    logger.warn("directories of ended jobs could not be removed", { error: messageOf(error) });
  }
}

/** A `tray` command and a `tray` package for entrypoints that bring none, shared by the session's jobs. */
function makeLaunchers(jobsDir: string, host: SuperviseJobHost): { launcherDir: string; modulesDir: string; hookFile: string } {
  const launcherDir = join(jobsDir, "bin");
  const modulesDir = join(jobsDir, "node_modules");
  mkdirSync(launcherDir, { recursive: true });
  mkdirSync(modulesDir, { recursive: true });
  const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
  const script = `#!/bin/sh\nexec ${quoted(host.execPath)} ${quoted(join(host.packageDir, "dist/bin/tray.cjs"))} "$@"\n`;
  unlessThere(() => writeFileSync(join(launcherDir, "tray"), script, { flag: "wx", mode: 0o755 }));
  unlessThere(() => symlinkSync(host.packageDir, join(modulesDir, "tray")));
  return { launcherDir, modulesDir, hookFile: join(host.packageDir, "dist/bin/run-hook.cjs") };
}

/** Another job of this session may have been here before. */
function unlessThere(make: () => void): void {
  try {
    make();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
