// An owner on each node fills its store several times over; then they end in one of several ways. Argument: a file whose appearance ends this driver.
//   says: stored {bytes}, killed, kept
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [end] = process.argv.slice(2);
await tray.init();

class Owner {
  refs = [];
  async fill(count, size) {
    for (let i = 0; i < count; i++) this.refs.push(await tray.put(new Uint8Array(size).fill(i + 1)));
    return { pid: process.pid, bytes: count * size };
  }
  async intact() {
    for (const [i, ref] of this.refs.entries()) if ((await tray.get(ref))[7] !== i + 1) return false;
    return true;
  }
}
const RemoteOwner = tray.remote(Owner, { numCpus: 0 });
const owners = [RemoteOwner.remote(), RemoteOwner.options({ resources: { far: 1 } }).remote()];
const filled = await tray.get(owners.map((owner) => owner.fill.remote(20, 5 << 20)));
say("intact", await tray.get(owners.map((owner) => owner.intact.remote())));
say("stored", filled);
for (const { pid } of filled) process.kill(pid, "SIGKILL");
say("killed", true);

const mine = [];
for (let i = 0; i < 20; i++) mine.push(await tray.put(new Uint8Array(5 << 20).fill(i)));
const theirs = Array.from({ length: 20 }, (_, i) => tray.remote((n) => new Uint8Array(5 << 20).fill(n), { resources: { far: 1 } }).remote(i));
await tray.wait(theirs, { numReturns: theirs.length, fetchLocal: false });
say("kept", mine.length + theirs.length);
while (!existsSync(end)) await delay(10);
await tray.shutdown();
