// A worker's user thread: what bin/worker-host.ts calls through the loaded library, so that user code and the worker share one copy of it.
import { systemClock } from "@tray/common";
import { type ExecActor, type FirstWord, type Runtime, type ToUser, withoutCallers } from "@tray/core-worker";
import { type UserExecutorHost, UserExecutor } from "@tray/worker-host";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { inspect } from "node:util";
import { bundleDir } from "./driver.js";
import { collectBlocked, collectGarbage, collectIfWanted } from "./garbage.js";
import { setLink, startUserThread } from "./state.js";
import type { ModuleHost } from "@tray/serialization";

/** What bin/worker-host.ts passes on. */
export interface WorkerMainOptions {
  /** WorkerProcessConfig, as read from its file. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly token: string | undefined;
  readonly facts: { readonly pid: number; readonly nodeVersion: string; readonly configFile: string };
  readonly faults: string | undefined;
}

/** Lets bin/worker-host.ts find this copy of the library. */
export function installWorkerMain(): void {
  (globalThis as Record<symbol, unknown>)[Symbol.for("tray.workerMain")] ??= workerMain;
}

const flushTimeoutMs = 200;

export async function workerMain(options: WorkerMainOptions): Promise<void> {
  muteLoaderWarning();
  let runtime: Runtime | undefined;
  let word: Extract<FirstWord, { ok: true }> | undefined = undefined;
  let actor: ExecActor | undefined;
  let leaving = false;
  const exit = (code: number): void => {
    leaving = true;
    process.exit(code);
  };
  const host: UserExecutorHost = {
    joinJob: (jobId, namespace, workingDir) => {
      if (runtime !== undefined || word === undefined) return;
      if (workingDir !== "" && existsSync(workingDir)) process.chdir(workingDir);
      runtime = thread.makeRuntime(word, { workingDir: workingDir === "" ? process.cwd() : workingDir, mainScript: undefined, wrap: withTypeScript });
      runtime.joinJob(jobId, namespace);
      setLink({
        runtime,
        kind: "worker",
        get extra() {
          return { incarnation: actor?.incarnation ?? 0 };
        },
        context: () => executor.context,
        close: () => Promise.resolve(),
      });
    },
    replaceWorker: (why) => {
      process.stderr.write(`tray: this worker is replaced: ${why}\n`);
      leaving = true;
      void flushThenExit(1);
    },
    ended: () => {
      collectIfWanted(systemClock, () => runtime?.holdings.flush());
    },
  };
  const user: ToUser = {
    ready: (id, index, located) => runtime?.requests.ready(id, index, located),
    reply: (id, ok, json) => runtime?.requests.reply(id, ok, json),
    lost: (failure) => runtime?.requests.lost(failure),
    logs: () => undefined,
    collectGarbage: () => {
      runtime?.values.forgetPlaces();
      if (runtime?.isBlocked === true) collectBlocked(systemClock, runtime);
      collectGarbage(systemClock, () => {
        runtime?.holdings.flush();
        thread.core.call(0, "collected", "{}");
      });
    },
    exit,
    loadFunction: (id, blob) => executor.loadFunction(id, blob),
    execTemplate: (key, template) => executor.execTemplate(key, template),
    execute: (...args) => executor.execute(...args),
    becomeActor: (execId, spec, args, refs) => {
      actor = spec;
      executor.becomeActor(execId, spec, args, refs);
    },
    cancelExec: (execId) => executor.cancelExec(execId),
    resumeStream: (execId, resume) => executor.resumeStream(execId, resume),
    consumed: (execId, count) => executor.consumed(execId, count),
  };
  const thread = startUserThread(
    `${bundleDir()}/io-thread.cjs`,
    { kind: "worker", config: options.config, token: options.token, facts: options.facts, faults: options.faults },
    user,
    () => executor.pump(),
  );
  const executor = new UserExecutor(() => runtime as Runtime, thread.io.claims, host);
  const flush = (): void => {
    // The process ends: unstarted tasks go back and answers leave before it does.
    thread.core.call(0, "dying", "{}");
    Atomics.wait(thread.io.state, 1, 0, flushTimeoutMs);
  };
  const flushThenExit = async (code: number): Promise<void> => {
    await Promise.resolve();
    flush();
    process.exit(code);
  };
  process.on("uncaughtException", (error) => {
    process.stderr.write(`uncaught exception: ${told(error)}\n`);
    executor.escaped("uncaught exception", error);
  });
  process.on("unhandledRejection", (reason) => {
    process.stderr.write(`unhandled rejection: ${told(reason)}\n`);
    executor.escaped("unhandled rejection", reason);
  });
  process.on("exit", (code) => {
    if (leaving) return;
    // The listener runs inside of process.exit(), so the stack says who called it. These are the process's last words, which the task's error quotes.
    const frames = (new Error().stack ?? "").split("\n").slice(1);
    const caller = frames.find((frame) => !frame.includes(bundleDir()) && !/\(?node:[^()]*\)?$/.test(frame))?.trim() ?? "";
    const names = executor.runningNames;
    if (names.length > 0) process.stderr.write(`tray: process.exit(${code}) in ${names.join(", ")} ${caller}\n`);
    flush();
  });
  thread.io.worker.on("error", (error) => {
    process.stderr.write(`tray: the I/O thread failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    exit(70);
  });
  thread.io.worker.on("exit", (code) => {
    if (!leaving) exit(code === 0 ? 0 : 70);
  });
  const first = await thread.io.firstWord();
  if (!first.ok) {
    process.stderr.write(`tray: this worker could not register: ${first.failure.message}\n`);
    exit(1);
    return;
  }
  word = first;
  thread.channel.ref(); // a worker lives until it is told to go
  thread.io.worker.ref();
  thread.channel.start();
}

function told(thrown: unknown): string {
  return thrown instanceof Error ? withoutCallers(thrown.stack ?? thrown.message, bundleDir()) : inspect(thrown);
}

/** Shipped code imports through a vm option that Node calls experimental: a warning in every job's output about which its user can do nothing. */
function muteLoaderWarning(): void {
  const emit = process.emitWarning;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (!String(warning).includes("USE_MAIN_CONTEXT_DEFAULT_LOADER")) Reflect.apply(emit, process, [warning, ...rest]);
  };
}

/** Modules of the job may be TypeScript: tsx is registered when the first one is met. */
function withTypeScript(host: ModuleHost): ModuleHost {
  const isTypeScript = (specifier: string): boolean => /\.[cm]?tsx?$/.test(specifier);
  let required = false;
  const forRequire = (): void => {
    if (required) return;
    required = true;
    (createRequire(`${bundleDir()}/index.cjs`)("tsx/cjs/api") as { register(): void }).register();
  };
  // Not by `require`: that copy of tsx looks for its loader in the wrong directory.
  let imported: Promise<unknown> | undefined;
  const forImport = (): Promise<unknown> => (imported ??= import("tsx/esm/api").then(({ register }) => register()));
  return {
    isMain: (url) => host.isMain(url),
    referToScript: (url, loader) => host.referToScript(url, loader),
    referToImport: (specifier, importer, loader) => host.referToImport(specifier, importer, loader),
    exportNameOf: (url, value) => host.exportNameOf(url, value),
    prepare: async (ref) => {
      if (isTypeScript(ref.specifier)) {
        forRequire();
        await forImport();
      }
      await host.prepare(ref);
    },
    binding: (ref, name) => {
      if (isTypeScript(ref.specifier)) forRequire();
      return host.binding(ref, name);
    },
    pathOf: (ref) => host.pathOf(ref),
    requireFrom: (file) => host.requireFrom(file),
  };
}
