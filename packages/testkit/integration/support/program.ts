// Child processes of the tests: started, read line by line while they run, and judged when they have ended.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

export const integrationDir = join(__dirname, "..");
export const repositoryRoot = join(integrationDir, "../../..");
export const driverFile = (name: string): string => join(integrationDir, "drivers", name);
export const trayCommand = join(repositoryRoot, "packages/tray/bin/tray.js");

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** SIGKILL and an error after this. Default 45 000. */
  readonly timeoutMs?: number;
}

/** A running child process. */
export class Program {
  readonly result: Promise<Result>;
  private stdout = "";
  private stderr = "";
  private over = false;
  private readonly watchers = new Set<() => void>();
  private readonly child: ChildProcess;

  constructor(
    private readonly args: readonly string[],
    options: ProgramOptions = {},
  ) {
    const startedMs = performance.now();
    this.child = spawn(process.execPath, [...args], {
      cwd: options.cwd ?? integrationDir,
      env: { ...process.env, ...options.env } as NodeJS.ProcessEnv,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.child.kill("SIGKILL");
    }, options.timeoutMs ?? 45_000);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => this.hear(() => (this.stdout += text)));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => this.hear(() => (this.stderr += text)));
    this.result = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (code, signal) => {
        clearTimeout(timer);
        this.hear(() => (this.over = true));
        if (late) reject(new Error(`${this.describe()} did not end in time\n${this.output()}`));
        else resolve({ code, signal, stdout: this.stdout, stderr: this.stderr, durationMs: performance.now() - startedMs });
      });
    });
    this.result.catch(() => undefined); // whoever awaits it is told; a test that failed before does not need a second complaint
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.describe()} did not start`);
    return this.child.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** The first match in what was written to stdout so far or later. @throws when the process ends without it. */
  stdoutMatch(pattern: RegExp): Promise<RegExpExecArray> {
    return this.match(() => this.stdout, pattern);
  }
  stderrMatch(pattern: RegExp): Promise<RegExpExecArray> {
    return this.match(() => this.stderr, pattern);
  }

  private match(written: () => string, pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(written());
        if (match === null && !this.over) return;
        this.watchers.delete(look);
        if (match !== null) resolve(match);
        else reject(new Error(`${this.describe()} ended without writing ${pattern}\n${this.output()}`));
      };
      this.watchers.add(look);
      look();
    });
  }

  /** The value behind `word` on a line of stdout: drivers say `word {json}`. */
  async said<T>(word: string): Promise<T> {
    return JSON.parse((await this.stdoutMatch(new RegExp(`^${word} (.*)\\n`, "m")))[1] ?? "null") as T;
  }

  private hear(change: () => void): void {
    change();
    for (const watcher of [...this.watchers]) watcher();
  }

  private describe(): string {
    return `node ${this.args.join(" ")}`;
  }

  private output(): string {
    return `--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`;
  }
}

/** Runs Node with these arguments to its end. */
export const runNode = (args: readonly string[], options?: ProgramOptions): Promise<Result> => new Program(args, options).result;

/** The last value behind `word` in what a program wrote. */
export function lastSaid<T>(stdout: string, word: string): T {
  const line = stdout
    .split("\n")
    .filter((l) => l.startsWith(`${word} `))
    .at(-1);
  if (line === undefined) throw new Error(`nobody said '${word}':\n${stdout}`);
  return JSON.parse(line.slice(word.length + 1)) as T;
}
