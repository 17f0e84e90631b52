// Scope: everything that runs belongs to one, and it ends what it started.
//
// Owns:       closers (last in, first out), background tasks, child scopes, an abort signal.
// Not mine:   what the closers do.
//
// Invariants
//   S1. close() runs once; every caller gets the same promise.
//   S2. closers run in reverse order of their registration, each with a deadline; one that fails or hangs does not stop the rest.
//   S3. a background task that rejects (other than by the scope's abort) is reported to onError, never lost.
import { setMaxListeners } from "node:events";
import type { Clock } from "./clock.js";

export interface ScopeOptions {
  clock: Clock;
  /** Called for failed tasks and failed or late closers. */
  onError: (what: string, error: unknown) => void;
  /** How long one closer may take. Default 5000 ms. */
  closerTimeoutMs?: number;
}

export type Closer = () => void | Promise<void>;

export class Scope {
  private readonly closers: { name: string; close: Closer }[] = [];
  private readonly tasks = new Set<Promise<void>>();
  private readonly aborter = new AbortController();
  private closing: Promise<void> | undefined;

  constructor(
    readonly name: string,
    private readonly options: ScopeOptions,
  ) {
    setMaxListeners(0, this.aborter.signal); // one for each thing that runs here: many are no leak
  }

  /** Aborts when the scope begins to close. */
  get signal(): AbortSignal {
    return this.aborter.signal;
  }
  get closed(): boolean {
    return this.closing !== undefined;
  }

  /** Registers a closer; after close() it runs at once. Returns a function that takes it back. */
  defer(name: string, close: Closer): () => void {
    if (this.closing !== undefined) {
      void this.runCloser({ name, close });
      return () => undefined;
    }
    const entry = { name, close };
    this.closers.push(entry);
    return () => {
      const at = this.closers.indexOf(entry);
      if (at >= 0) this.closers.splice(at, 1);
    };
  }

  /** Runs a background task that the scope awaits at close. It should end when `signal` aborts. */
  run(name: string, task: (signal: AbortSignal) => Promise<void>): void {
    const running = task(this.signal)
      .catch((error: unknown) => {
        if (!this.signal.aborted) this.options.onError(`${this.name}/${name}`, error); // S3
      })
      .finally(() => this.tasks.delete(running));
    this.tasks.add(running);
  }

  /** A child that closes before anything registered earlier on this scope. */
  child(name: string): Scope {
    const child = new Scope(`${this.name}/${name}`, this.options);
    const forget = this.defer(name, () => child.close());
    child.closers.unshift({ name: "unlink", close: forget });
    return child;
  }

  close(): Promise<void> {
    this.closing ??= this.doClose(); // S1
    return this.closing;
  }

  private async doClose(): Promise<void> {
    await Promise.resolve();
    this.aborter.abort(new Error(`scope ${this.name} closed`));
    for (let entry = this.closers.pop(); entry !== undefined; entry = this.closers.pop()) await this.runCloser(entry); // S2
    await this.withDeadline(
      "tasks",
      Promise.all(this.tasks).then(() => undefined),
    );
  }

  private async runCloser(entry: { name: string; close: Closer }): Promise<void> {
    try {
      await this.withDeadline(entry.name, Promise.resolve(entry.close()));
    } catch (error) {
      this.options.onError(`${this.name}/${entry.name}`, error);
    }
  }

  private withDeadline(what: string, work: Promise<void>): Promise<void> {
    const timeoutMs = this.options.closerTimeoutMs ?? 5000;
    return new Promise((resolve, reject) => {
      const timer = this.options.clock.after(timeoutMs, () => reject(new Error(`${what} did not end within ${timeoutMs} ms`)));
      work.then(
        () => {
          timer.cancel();
          resolve();
        },
        (error: unknown) => {
          timer.cancel();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }
}
