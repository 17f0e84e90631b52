// A worker process. User code and this file share the loaded library (../index.cjs), so that `import "tray"` inside a task is the very same instance.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Socket } from "node:net";
import { join } from "node:path";
import { killBelongings } from "@tray/node-launcher";
import { faultPlanVariable, processConfigVariable, type WorkerProcessConfig } from "@tray/protocol";

const file = process.env[processConfigVariable];
if (file === undefined) {
  process.stderr.write(`a worker is started by its raylet: ${processConfigVariable} is not set\n`);
  process.exit(2);
}
const config = JSON.parse(readFileSync(file, "utf8")) as WorkerProcessConfig;
// It stays in the environment: by it the raylet finds what user code has started, in whatever session, and ends it with this worker.

// The raylet holds the other end of descriptor 3: end of file means that it is gone, and with it this worker's reason to be.
// Polled, not read: a file stream would sit in a thread of the pool, for which `process.exit` waits.
new Socket({ fd: 3, readable: true, writable: false })
  .on("error", () => process.exit(0))
  .on("end", () => {
    killBelongings(process.pid, file); // no raylet will do it
    process.kill(process.pid, "SIGKILL");
  })
  .resume();

createRequire(__filename)(join(__dirname, "..", "index.cjs"));
type WorkerMain = (options: object) => Promise<void>;
const workerMain = (globalThis as Record<symbol, unknown>)[Symbol.for("tray.workerMain")] as WorkerMain;
workerMain({
  config,
  token: config.tokenFile === undefined ? undefined : readFileSync(config.tokenFile, "utf8").trim(),
  facts: { pid: process.pid, nodeVersion: process.versions.node, configFile: file },
  faults: config.faults ?? process.env[faultPlanVariable],
}).catch((error: unknown) => {
  process.stderr.write(`worker: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(70);
});
