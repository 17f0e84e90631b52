// The entrypoint as a process: a shell in a session of its own, its output appended to the job's log, and a guard that ends it when its supervisor dies.
import { deferred } from "@tray/common";
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { submissionVariable } from "./process-tree.js";

export interface Entrypoint {
  readonly pid: number;
  /** Exit code; minus the signal's number when a signal ended the shell. */
  readonly exited: Promise<number>;
  /** Call when the job's processes are gone: the guard then ends without doing anything. */
  dismissGuard(): void;
}

/** @throws what spawning throws */
export async function startEntrypoint(
  command: string,
  options: { cwd: string; env: Readonly<Record<string, string>>; logFd: number; submissionId: string },
): Promise<Entrypoint> {
  const child = spawn("/bin/sh", ["-c", command], {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ["ignore", options.logFd, options.logFd],
  });
  const exited = deferred<number>();
  child.on("exit", (code, signal) => exited.resolve(code ?? -(signal === null ? 0 : constants.signals[signal])));
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  const pid = child.pid as number;
  const guard = startGuard(pid, options.submissionId);
  return { pid, exited: exited.promise, dismissGuard: () => void guard.stdin?.end("done\n") };
}

// Reads a pipe whose other end only the supervisor holds. A word on it: all is well. Its end without a word: the supervisor was killed.
// The session goes first, then whoever carries the job's id in its environment.
const guardScript = `
read -r word && exit 0
kill -KILL -- "-$1" 2>/dev/null
for dir in /proc/[0-9]*; do
  pid=\${dir#/proc/}
  [ "$pid" = "$$" ] || { grep -qzx "$2" "$dir/environ" 2>/dev/null && kill -KILL "$pid" 2>/dev/null; }
done
exit 0
`;

function startGuard(pid: number, submissionId: string): ChildProcess {
  const guard = spawn(
    "/bin/sh",
    ["-c", guardScript, "tray-job-guard", String(pid), `${submissionVariable}=${submissionId.replace(/[.[\]*^$\\]/g, "\\$&")}`],
    {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      env: { PATH: "/usr/local/bin:/usr/bin:/bin" },
      cwd: "/",
    },
  );
  guard.on("error", () => undefined); // without a guard a killed supervisor leaves its job running; the job itself is not worse for it
  guard.stdin?.on("error", () => undefined);
  guard.unref();
  return guard;
}
