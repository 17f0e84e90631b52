// The `tray` command, and (`__supervise`) the supervisor that it starts on each node. What is heavy is imported where it is used.
import { homedir } from "node:os";

async function supervise(planFile: string): Promise<number> {
  const { superviseMain } = await import("@tray/node-launcher");
  return await superviseMain(planFile, { pid: process.pid, env: process.env, onSignal: (signal, fn) => void process.on(signal, fn) });
}

async function command(argv: readonly string[]): Promise<number> {
  const [{ systemClock, systemRandom }, { trayVersion }, { Interrupted, main }] = await Promise.all([
    import("@tray/common"),
    import("@tray/protocol"),
    import("@tray/cli"),
  ]);
  const interruption = new AbortController();
  const interrupt = (exitCode: 130 | 143) => (): void => {
    if (interruption.signal.aborted) process.exit(exitCode); // asked twice: at once
    interruption.abort(new Interrupted(exitCode));
  };
  process.on("SIGINT", interrupt(130));
  process.on("SIGTERM", interrupt(143));
  // A reader that has seen enough (`tray logs | head`) is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 70));
  const output = (stream: NodeJS.WriteStream) => ({
    isTTY: stream.isTTY ?? false,
    columns: stream.columns ?? 80,
    write: (text: string) => void stream.write(text),
  });
  return await main(
    argv,
    {
      env: process.env,
      clock: systemClock,
      random: systemRandom,
      stdout: output(process.stdout),
      stderr: output(process.stderr),
      cwd: process.cwd(),
      homeDir: homedir(),
      pid: process.pid,
      execPath: process.execPath,
      binDir: __dirname,
      nodeVersion: process.versions.node,
      interruption: interruption.signal,
    },
    trayVersion,
  );
}

async function run(): Promise<void> {
  const [first, second] = process.argv.slice(2);
  const hold = setInterval(() => undefined, 0x3fffffff); // timers of the clock do not hold a process
  const exitCode = await (first === "__supervise" && second !== undefined ? supervise(second) : command(process.argv.slice(2)));
  clearInterval(hold);
  process.exitCode = exitCode;
  // Output to a pipe may still be on its way; what it waits for is that, not the connections that a failure may have left open.
  process.stdout.write("", () => process.stderr.write("", () => process.exit(exitCode)));
}

void run();
