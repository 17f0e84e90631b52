// A large object on each node, and tasks of one class that take them, one after the other, and say where they run.
//   says: result {atHome, elsewhere}
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const nodes = (await tray.nodes()).filter((n) => n.alive);

const make = (n) => tray.remote(() => new Uint8Array(64e6).fill(1), { numCpus: 0.5, schedulingStrategy: { nodeId: n.nodeId, soft: false } }).remote();
const whereIs = tray.remote((bytes) => bytes.length === 64e6 && tray.getRuntimeContext().nodeId, { numCpus: 0.5 });

const made = nodes.map((n) => ({ name: n.nodeName, ref: make(n) }));
await tray.wait(
  made.map(({ ref }) => ref),
  { numReturns: made.length, fetchLocal: false },
);
// A worker that is leased already is idle when the next task comes, on the wrong node.
let atHome = 0;
let elsewhere = 0;
for (let round = 0; round < 4; round++) {
  for (const { name, ref } of made) {
    const nodeId = await tray.get(whereIs.remote(ref));
    if (nodes.find((n) => n.nodeId === nodeId)?.nodeName === name) atHome++;
    else elsewhere++;
  }
}
say("result", { atHome, elsewhere });
await tray.shutdown();
