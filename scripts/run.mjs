// Runs a tool quietly: its output is shown when it fails, and only then.
import { spawn } from "node:child_process";

/** @returns whether it ended with 0; what it printed went to stderr if not. */
export async function runQuietly(label, command, args, options = {}) {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  const output = [];
  child.stdout.on("data", (chunk) => output.push(chunk));
  child.stderr.on("data", (chunk) => output.push(chunk));
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode, signal) => resolve(exitCode ?? signal));
  });
  if (code !== 0) process.stderr.write(Buffer.concat(output));
  console.log(`${code === 0 ? "ok    " : "FAILED"}  ${label}  (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return code === 0;
}
