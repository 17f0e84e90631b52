// Child processes: commands whose output is wanted, and measuring processes that answer in one marked line.
import { TrayError } from "@tray/common";
import { type ChildProcess, spawn } from "node:child_process";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface CommandOptions {
  readonly env: Environment;
  readonly cwd?: string;
  readonly signal?: AbortSignal | undefined;
  /** Called with whole lines of stdout. */
  readonly onLine?: (line: string) => void;
}

const shownBytes = 4000;

/** Runs a command to its end and gives its stdout. @throws SYSTEM with the end of its output when it fails. */
export function run(command: string, args: readonly string[], options: CommandOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = start(command, args, options);
    let out = "";
    let err = "";
    let line = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (options.onLine === undefined) return;
      const lines = (line + text).split("\n");
      line = lines.pop() as string;
      for (const whole of lines) options.onLine(whole);
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      err = (err + text).slice(-shownBytes);
    });
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) resolve(out);
      else reject(new TrayError("SYSTEM", `${command} ${args[0] ?? ""} ended with ${signal ?? code}:\n${(out.slice(-shownBytes) + err).trim()}`));
    });
  });
}

export function start(command: string, args: readonly string[], options: CommandOptions): ChildProcess {
  return spawn(command, args, {
    env: options.env as NodeJS.ProcessEnv,
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

// Both systems print to stdout themselves; the answer is the line that begins so.
export const answerMark = "@bench ";

/** Runs a measuring process and gives its answer. */
export async function runForAnswer<T>(command: string, args: readonly string[], options: CommandOptions): Promise<T> {
  const out = await run(command, args, options);
  const line = out.split("\n").findLast((text) => text.startsWith(answerMark));
  if (line === undefined) throw new TrayError("SYSTEM", `${command} gave no answer:\n${out.slice(-shownBytes)}`);
  return JSON.parse(line.slice(answerMark.length)) as T;
}
