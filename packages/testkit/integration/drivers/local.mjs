// A driver with a cluster of its own, in the form of an ES module.  Argument: "shutdown", "end" (nothing pending, no shutdown), or "hang" (until it is killed).
//   says: value, daemons [pid]
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as tray from "tray";
import { say } from "./checks.mjs";

const [how] = process.argv.slice(2);
await tray.init({ address: "local", numCpus: 1, objectStoreMemory: "100MiB" });
const inCommonJs = createRequire(import.meta.url)("tray");
say("instances", {
  same: inCommonJs.ObjectRef === tray.ObjectRef && inCommonJs.remote === tray.remote && inCommonJs.TaskError === tray.TaskError,
  initialized: inCommonJs.isInitialized(),
});
const chatty = tray.remote(function chatty(x) {
  console.log(`hello from ${x}`);
  console.error("and a warning");
  return x + 1;
});
say("value", await inCommonJs.get(chatty.remote(41)));
say("worker", await tray.get(tray.remote(() => ({ pid: process.pid, parent: readFileSync(`/proc/${process.ppid}/cmdline`, "utf8") })).remote()));
if (how === "shutdown") {
  await tray.shutdown();
  await tray.shutdown();
}
if (how === "hang") await new Promise((resolve) => setTimeout(resolve, 60_000));
