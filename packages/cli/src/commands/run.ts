// tray run FILE: runs a TypeScript or JavaScript driver with this installation's loader, and this installation's `tray` where the program has none of its own.
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
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
  const flagsOfNode = [...loaders(path, context.binDir), ...(await asModule(path, context.binDir))];
  const child = spawn(context.execPath, [...flagsOfNode, path, ...args], { cwd: context.cwd, env, stdio: "inherit" });
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

/**
 * tsx takes a `.ts` file outside of a `"type": "module"` package for CommonJS, and then ends with a compiler's error if it awaits at its top level: which
 * drivers do. Such a file can only be an ES module, so that is what the loader is told; files that work as CommonJS stay that.
 */
async function asModule(path: string, binDir: string): Promise<string[]> {
  if (!/\.tsx?$/.test(path) || packageType(dirname(path)) === "module") return [];
  const source = await readFile(path, "utf8");
  if (!/\bawait\b/.test(source) || !(await awaitsAtTop(source, path, binDir))) return [];
  const hooks = `export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    return found.url.replace(/[?#].*$/, "") === ${JSON.stringify(pathToFileURL(path).href)} ? { ...found, format: "module" } : found;
  }`;
  const registration = `import { register } from "node:module"; register(${JSON.stringify(dataUrl(hooks))});`;
  return ["--import", dataUrl(registration)]; // behind tsx's: the hooks registered last are asked first
}

const dataUrl = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;

type Esbuild = { transform(source: string, options: object): Promise<unknown>; stop?(): void };

/** Asked of the compiler that tsx uses, in the words in which it refuses. */
async function awaitsAtTop(source: string, path: string, binDir: string): Promise<boolean> {
  const tsx = createRequire(join(binDir, "tray.cjs")).resolve("tsx");
  const esbuild = createRequire(tsx)("esbuild") as Esbuild;
  try {
    await esbuild.transform(source, { format: "cjs", platform: "node", loader: path.endsWith("x") ? "tsx" : "ts", logLevel: "silent" });
    return false;
  } catch (error) {
    // Other mistakes are told by tsx, with their place.
    const errors = (error as { errors?: readonly { text: string }[] }).errors ?? [];
    return errors.length > 0 && errors.every(({ text }) => text.startsWith("Top-level await"));
  } finally {
    esbuild.stop?.();
  }
}

/** "type" of the package that a directory belongs to. */
function packageType(start: string): unknown {
  for (let dir = start; ; dir = dirname(dir)) {
    const file = join(dir, "package.json");
    if (existsSync(file)) return typeOf(readFileSync(file, "utf8"));
    if (dirname(dir) === dir) return undefined;
  }
}

function typeOf(packageJson: string): unknown {
  try {
    return (JSON.parse(packageJson) as { type?: unknown } | null)?.type;
  } catch {
    return undefined; // Node itself says what is wrong with it
  }
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
