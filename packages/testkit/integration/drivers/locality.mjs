// A large object on each node, and for each a task that takes it and says where it runs.
//   says: result {ranAt: {nodeName: nodeName of the task}}
import * as tray from "tray";
import { say } from "./checks.mjs";

await tray.init();
const nodes = (await tray.nodes()).filter((n) => n.alive);

const make = (n) => tray.remote(() => new Uint8Array(20e6).fill(1), { numCpus: 0.5, schedulingStrategy: { nodeId: n.nodeId, soft: false } }).remote();
const whereIs = tray.remote((bytes) => bytes.length === 20e6 && tray.getRuntimeContext().nodeId);

const made = nodes.map((n) => ({ name: n.nodeName, ref: make(n) }));
await tray.wait(
  made.map(({ ref }) => ref),
  { numReturns: made.length, fetchLocal: false },
);
const ranAt = {};
for (const [i, { name, ref }] of made.entries()) {
  // Each in a scheduling class of its own, with room on every node: a worker that is still leased for another would be used again, wherever it is.
  const nodeId = await tray.get(whereIs.options({ numCpus: 0.1 + i / 100 }).remote(ref));
  ranAt[name] = nodes.find((n) => n.nodeId === nodeId)?.nodeName;
}
say("result", { ranAt });
await tray.shutdown();
