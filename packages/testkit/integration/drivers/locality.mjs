// A large object on each node, and for each a task that takes it and says where it runs.
//   says: result {ranAt: {nodeName: nodeName of the task}}
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

await tray.init();
const nodes = (await tray.nodes()).filter((n) => n.alive);

const make = (n) => tray.remote(() => new Uint8Array(20e6).fill(1), { schedulingStrategy: { nodeId: n.nodeId, soft: false } }).remote();
const whereIs = tray.remote((bytes) => bytes.length === 20e6 && tray.getRuntimeContext().nodeId);

const made = nodes.map((n) => ({ name: n.nodeName, ref: make(n) }));
await tray.wait(
  made.map(({ ref }) => ref),
  { numReturns: made.length, fetchLocal: false },
);
const ranAt = {};
for (const { name, ref } of made) {
  // Every worker is given back: one that is still leased would be used again, wherever it is.
  while ((await tray.availableResources()).CPU < (await tray.clusterResources()).CPU) await delay(20);
  const nodeId = await tray.get(whereIs.remote(ref));
  ranAt[name] = nodes.find((n) => n.nodeId === nodeId)?.nodeName;
}
say("result", { ranAt });
await tray.shutdown();
