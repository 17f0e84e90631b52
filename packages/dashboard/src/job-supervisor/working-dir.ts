// Brings the job's working directory to this node: from the dashboard's store when it is on this machine, else over HTTP.
import { messageOf, TrayError } from "@tray/common";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { get as getPlain, type IncomingMessage } from "node:http";
import { get as getTls } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { SupervisorInput } from "./input.js";
import { checkRuntimeEnv } from "./runtime-env.js";
import { unpackZip } from "./unpack.js";

/** What the dashboard's HTTP asks for. */
export interface HttpAccess {
  readonly token: string | undefined;
  /** PEM of the authority whose certificate the dashboard shows; undefined where it speaks plain HTTP. */
  readonly ca: Buffer | undefined;
}

/** @returns the directory to run in. @throws RUNTIME_ENV_SETUP */
export async function prepareWorkingDir(input: SupervisorInput, jobDir: string, access: HttpAccess, signal: AbortSignal): Promise<string> {
  const env = input.runtimeEnv ?? {};
  checkRuntimeEnv(env);
  const uri = env["working_dir"] ?? env["workingDir"];
  if (uri === undefined || uri === null || uri === "") {
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
    await download(`${input.dashboardUrl}/api/tray/packages/${encodeURIComponent(name)}`, fetched, access, signal);
    await unpackZip(fetched, target, signal);
  } finally {
    await rm(fetched, { force: true });
  }
  return target;
}

/** Not by `fetch`, which takes no authority of its own. */
function request(url: string, { token, ca }: HttpAccess, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const get = url.startsWith("https:") ? getTls : getPlain;
    get(url, { agent: false, signal, headers, ...(ca === undefined ? {} : { ca }) }, resolve).on("error", reject);
  });
}

async function download(url: string, file: string, access: HttpAccess, signal: AbortSignal): Promise<void> {
  try {
    const response = await request(url, access, signal);
    if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${await text(response)}`);
    await pipeline(response, createWriteStream(file, { mode: 0o600 }), { signal });
  } catch (error) {
    throw new TrayError("RUNTIME_ENV_SETUP", `cannot fetch ${url}: ${messageOf(error)}`, { cause: error });
  }
}
