// tray run FILE: runs a TypeScript or JavaScript driver with this installation's loader, and this installation's `tray` where the program has none of its own.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";

export async function run(session: Session, file: string, args: readonly string[]): Promise<number> {
  const { context, flags } = session;
  const path = resolve(context.cwd, file);
  if (!existsSync(path)) throw new CliFailure(exitCodes.notFound, "NOT_FOUND", `there is no file ${file}`);
  if (!/\.[cm]?[jt]sx?$/.test(path))
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `${file} is neither TypeScript nor JavaScript`,
      "other programs are run as they are: TRAY_ADDRESS tells them where the cluster is",
    );
  const env: Record<string, string | undefined> = { ...context.env, NODE_PATH: nodePath(context.env["NODE_PATH"], context.binDir) };
  // Only what was said on the command line: the driver looks for a cluster by itself, and may start one of its own.
  if (flags.address !== undefined) env["TRAY_ADDRESS"] = findTarget(session).address;
  if (flags.tokenFile !== undefined) env["TRAY_AUTH_TOKEN_PATH"] = resolve(context.cwd, flags.tokenFile);
  if (flags.dataDir !== undefined) env["TRAY_DATA_DIR"] = resolve(context.cwd, flags.dataDir);
  const child = spawn(context.execPath, [...loaders(path, context.binDir), path, ...args], { cwd: context.cwd, env, stdio: "inherit" });
  const pass = (): void => void child.kill("SIGTERM");
  context.interruption.addEventListener("abort", pass, { once: true }); // SIGINT reaches it from the terminal as well
  return await new Promise((done, fail) => {
    child.on("error", (error) => fail(new CliFailure(exitCodes.internal, "INTERNAL", `cannot start ${context.execPath}: ${error.message}`)));
    child.on("exit", (code, signal) => {
      context.interruption.removeEventListener("abort", pass);
      done(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** Flags of Node that make it run the file: tsx for TypeScript, and our hook that finds `tray`. */
export function loaders(path: string, binDir: string): string[] {
  const hook = ["--require", join(binDir, "run-hook.cjs")];
  if (!/\.[cm]?tsx?$/.test(path)) return hook;
  const tsx = createRequire(join(binDir, "tray.cjs")).resolve("tsx");
  return [...hook, "--import", pathToFileURL(tsx).href];
}

/** The directory that holds the `tray` package, behind what the user set. */
function nodePath(own: string | undefined, binDir: string): string {
  const modules = modulesDirOf(join(binDir, "../.."));
  return own === undefined || own === "" ? modules : `${own}:${modules}`;
}

/** `node_modules` that this package is installed in; in the repository, where it is linked from. */
function modulesDirOf(packageDir: string): string {
  for (let dir = packageDir; dirname(dir) !== dir; dir = dirname(dir))
    if (existsSync(join(dir, "node_modules", "tray", "package.json"))) return join(dir, "node_modules");
  return dirname(packageDir);
}
