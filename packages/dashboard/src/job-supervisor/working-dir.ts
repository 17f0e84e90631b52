// Brings the job's working directory to this node: from the dashboard's store when it is on this machine, else over HTTP.
import { messageOf, TrayError } from "@tray/common";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import type { SupervisorInput } from "./input.js";
import { unpackZip } from "./unpack.js";

/** Keys of runtime environments that this version sets up for jobs, and Ray's that mean nothing here. */
const known = new Set(["working_dir", "workingDir", "env_vars", "envVars", "excludes", "config", "_ray_commit", "metadata", "name"]);

/** @returns the directory to run in. @throws RUNTIME_ENV_SETUP */
export async function prepareWorkingDir(input: SupervisorInput, jobDir: string, token: string | undefined, signal: AbortSignal): Promise<string> {
  const env = input.runtimeEnv ?? {};
  const unknown = Object.keys(env).filter((key) => !known.has(key) && env[key] != null);
  if (unknown.length > 0)
    throw new TrayError("RUNTIME_ENV_SETUP", `runtime_env ${unknown.map((k) => `'${k}'`).join(", ")} is not supported by this version of tray`);
  const uri = env["working_dir"] ?? env["workingDir"];
  if (uri === undefined || uri === null) {
    await mkdir(jobDir, { recursive: true, mode: 0o700 });
    return jobDir;
  }
  const name = typeof uri === "string" ? /^gcs:\/\/([A-Za-z0-9_][A-Za-z0-9_.+-]*\.zip)$/.exec(uri)?.[1] : undefined;
  if (name === undefined) throw new TrayError("RUNTIME_ENV_SETUP", `working_dir ${JSON.stringify(uri)} is not an uploaded package (gcs://….zip)`);
  const target = join(jobDir, "working_dir");
  await rm(target, { recursive: true, force: true }); // of an attempt that did not get far
  const here = join(input.packagesDir, name);
  if (existsSync(here)) {
    await unpackZip(here, target, signal);
    return target;
  }
  const fetched = join(jobDir, name);
  await mkdir(jobDir, { recursive: true, mode: 0o700 });
  try {
    await download(`${input.dashboardUrl}/api/tray/packages/${encodeURIComponent(name)}`, fetched, token, signal);
    await unpackZip(fetched, target, signal);
  } finally {
    await rm(fetched, { force: true });
  }
  return target;
}

async function download(url: string, file: string, token: string | undefined, signal: AbortSignal): Promise<void> {
  try {
    const response = await fetch(url, { signal, headers: token === undefined ? {} : { Authorization: `Bearer ${token}` } });
    if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
    await pipeline(Readable.fromWeb(response.body as ReadableStream), createWriteStream(file, { mode: 0o600 }), { signal });
  } catch (error) {
    throw new TrayError("RUNTIME_ENV_SETUP", `cannot fetch ${url}: ${messageOf(error)}`, { cause: error });
  }
}
