// An actor and a task on nodes with the resource "far", which start processes that want to outlive them: in sessions of their own, one without its parent's environment.
// The task computes without ever yielding.
//   says: detached {actorPid, taskPid, children}
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const start = async (env) => {
  const { spawn } = await import("node:child_process");
  const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 100_000)"], {
    detached: true,
    stdio: "ignore",
    ...(env === undefined ? {} : { env }),
  });
  child.unref();
  return child.pid;
};
class Starter {
  pids = [];
  async start() {
    return { actorPid: process.pid, children: [await start(), await start({})] };
  }
}
class Mailbox {
  set(told) {
    this.told = told;
  }
  get() {
    return this.told;
  }
}
const far = { numCpus: 0, resources: { far: 0.1 } };
const starter = tray.remote(Starter, far).remote();
const mailbox = tray.remote(Mailbox, { numCpus: 0, resources: { near: 0.1 } }).remote();
const busy = tray
  .remote(
    async (box) => {
      const child = await start();
      await tray.get(box.set.remote({ taskPid: process.pid, child }));
      for (const end = Date.now() + 100_000; Date.now() < end; );
    },
    { ...far, maxRetries: 0 },
  )
  .remote(mailbox);
const { actorPid, children } = await tray.get(starter.start.remote());
let told;
while (told === undefined) told = await tray.get(mailbox.get.remote());
say("detached", { actorPid, taskPid: told.taskPid, children: [...children, told.child] });
try {
  await tray.get(busy);
} catch (error) {
  say("failed", { code: error.code });
}
