// What a driver sees when others die: the owner of what it borrows, the node of its actor.  Argument: a file whose appearance says that the node is dead.
//   says: ownerDied {code, name}, alive {nodeName, pid}, restarted {nodeName, reconstructed, calls}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, rejection, say } from "./checks.mjs";

const isAlive = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const [gate] = process.argv.slice(2);
await tray.init();

class Owner {
  async make() {
    return [process.pid, await tray.put(new Uint8Array(1 << 20)), await tray.put("never fetched before its owner died")];
  }
}
const owner = tray.remote(Owner, { numCpus: 0 }).remote();
const [ownerPid, large, small] = await tray.get(owner.make.remote());
await tray.get(large);
await tray.kill(owner);
while (isAlive(ownerPid)) await delay(5);
const error = await rejection(tray.get(small));
say("ownerDied", { code: error.code, isLost: error instanceof tray.ObjectLostError, isOwnerDied: error instanceof tray.OwnerDiedError });

const nodes = await tray.nodes();
const far = nodes.find((n) => n.alive && !n.isHead);
class Ledger {
  calls = 0;
  where() {
    const { nodeId, wasCurrentActorReconstructed } = tray.getRuntimeContext();
    return { nodeId, reconstructed: wasCurrentActorReconstructed, calls: ++this.calls };
  }
}
const ledger = tray.remote(Ledger, { numCpus: 0, maxRestarts: 1, schedulingStrategy: { nodeId: far.nodeId, soft: true } }).remote();
const first = await tray.get(ledger.where.remote());
say("alive", { onFar: first.nodeId === far.nodeId, calls: first.calls });
while (!existsSync(gate)) await delay(10);
for (;;) {
  const answer = await tray.get(ledger.where.remote()).catch((e) => {
    if (!(e instanceof tray.ActorUnavailableError)) throw e;
  });
  if (answer === undefined) continue;
  say("restarted", { onHead: answer.nodeId === nodes.find((n) => n.isHead).nodeId, reconstructed: answer.reconstructed, calls: answer.calls });
  break;
}
