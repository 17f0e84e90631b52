// The driver's side: connecting, logs on the terminal, leaving.
import { type Size, systemClock } from "@tray/common";
import type { FirstWord, ToUser } from "@tray/core-worker";
import { type ProcessFacts, processFacts } from "./environment.js";
import { collectBlocked, collectGarbage } from "./garbage.js";
import { printLogs } from "./log-lines.js";
import { connectError, currentLink, endLink, type Link, setLink, startUserThread, type UserThread } from "./state.js";

export interface InitOptions {
  /** "host:port" of a GCS, "auto" (a running cluster must be found) or "local" (starts one). Default: $TRAY_ADDRESS, else a cluster running on this machine, else "local". */
  address?: "auto" | "local" | (string & {});
  /** Scopes names of actors. Default: a fresh anonymous one. */
  namespace?: string;
  jobName?: string;
  metadata?: Record<string, string>;
  /** Print what tasks and actors of this job write. Default true. */
  logToDriver?: boolean;
  /** The rest only for a cluster that this call starts. */
  numCpus?: number;
  numGpus?: number;
  memory?: Size;
  objectStoreMemory?: Size;
  resources?: Record<string, number>;
  labels?: Record<string, string>;
  dashboard?: boolean;
  systemConfig?: Record<string, unknown>;
}

const shutdownTimeoutMs = 10_000;

/** What goes to the I/O thread: see io-thread.ts. */
export interface DriverTask {
  readonly kind: "driver";
  readonly options: InitOptions;
  readonly facts: ProcessFacts;
  readonly binDir: string;
}

function begin(options: InitOptions): { thread: UserThread; finish: (word: FirstWord) => Link } {
  const facts = processFacts();
  const task: DriverTask = { kind: "driver", options, facts, binDir: `${bundleDir()}/bin` };
  let link: Link | undefined;
  const user: ToUser = {
    ready: (id, index, located) => link?.runtime.requests.ready(id, index, located),
    reply: (id, ok, json) => link?.runtime.requests.reply(id, ok, json),
    lost: (failure) => link?.runtime.requests.lost(failure),
    logs: (json) => {
      if (options.logToDriver !== false) printLogs(json);
    },
    collectGarbage: () => {
      link?.runtime.values.forgetPlaces();
      if (link?.runtime.isBlocked === true) collectBlocked(systemClock, link.runtime);
      collectGarbage(systemClock, () => {
        link?.runtime.holdings.flush();
        thread.core.call(0, "collected", "{}");
      });
    },
    exit: () => undefined,
    loadFunction: neverInDriver,
    execTemplate: neverInDriver,
    execute: neverInDriver,
    becomeActor: neverInDriver,
    cancelExec: neverInDriver,
    resumeStream: neverInDriver,
    consumed: neverInDriver,
  };
  const thread = startUserThread(`${bundleDir()}/io-thread.cjs`, task as unknown as Parameters<typeof startUserThread>[1], user, () => undefined);
  return {
    thread,
    finish: (word) => {
      if (!word.ok) {
        void thread.io.worker.terminate();
        thread.channel.close();
        throw connectError(word.failure);
      }
      const runtime = thread.makeRuntime(word, { workingDir: facts.cwd, mainScript: facts.mainScript });
      link = {
        runtime,
        kind: "driver",
        extra: word.extra,
        context: () => undefined,
        close: async () => {
          runtime.holdings.flush();
          const stopped = runtime.call("shutdown");
          runtime.close();
          const late = systemClock.after(shutdownTimeoutMs, () => void thread.io.worker.terminate());
          const ended = new Promise<void>((resolve) => thread.io.worker.once("exit", () => resolve()));
          thread.io.worker.ref();
          await stopped.catch(() => undefined); // the connection may be lost already; the thread ends all the same
          thread.io.control.postMessage("end");
          await ended;
          late.cancel();
          thread.channel.close();
        },
      };
      thread.channel.start();
      return link;
    },
  };
}

export async function connect(options: InitOptions): Promise<Link> {
  const { thread, finish } = begin(options);
  return finish(await thread.io.firstWord());
}

/** The same, blocking this thread: for the first use of the API without `init`. */
export function connectSync(): Link {
  const { thread, finish } = begin({});
  const link = finish(thread.io.firstWordSync());
  setLink(link);
  return link;
}

export async function disconnect(): Promise<void> {
  const link = currentLink();
  if (link === undefined || link.kind !== "driver") return;
  endLink();
  await link.close();
}

function neverInDriver(): void {
  throw new Error("a driver was asked to run a task");
}

/** Directory of the bundle that this code runs in: packages/tray/dist. */
export function bundleDir(): string {
  return __dirname;
}
