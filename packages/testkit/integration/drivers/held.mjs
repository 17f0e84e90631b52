// A driver that holds everything a driver can hold, until it is killed.
//   says: held {actorPid, taskPid, grandchild}
import { spawn } from "node:child_process";
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
class Holder {
  start() {
    // A process that would outlive its worker if that were all that ended.
    this.child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 100_000)"], { detached: true, stdio: "ignore" });
    return { pid: process.pid, grandchild: this.child.pid };
  }
}
const holder = tray.remote(Holder, { numCpus: 1, name: "holder" }).remote();
const { pid: actorPid, grandchild } = await tray.get(holder.start.remote());
const large = await tray.put(new Uint8Array(32 << 20).fill(1));
class Mailbox {
  set(pid) {
    this.pid = pid;
  }
  get() {
    return this.pid;
  }
}
const mailbox = tray.remote(Mailbox, { numCpus: 0 }).remote();
const running = tray
  .remote(async (box) => {
    await tray.get(box.set.remote(process.pid));
    await new Promise((resolve) => setTimeout(resolve, 100_000));
  })
  .remote(mailbox);
let taskPid;
while (taskPid === undefined) taskPid = await tray.get(mailbox.get.remote());
say("held", { actorPid, taskPid, grandchild });
await tray.get([running, large]);
