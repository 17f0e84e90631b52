// A map and reduce over large partitions, as a job. Arguments: how many seconds a map takes, and a file whose appearance starts the reduce.
//   says: mapping {}, mapped {nodeName: count}, result {sum, expected, reducedOn, attempts}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [mapMs = "0", gate] = process.argv.slice(2);
const maps = 12;
const reduces = 6;
const partitionLength = 50_000; // 200 kB each: in the node's store, not in a message

const nodeName = (nodes, id) => nodes.find((n) => n.nodeId === id)?.nodeName ?? id;
const countBy = (names) => names.reduce((counts, name) => ({ ...counts, [name]: (counts[name] ?? 0) + 1 }), {});

await tray.init();

const map = tray.remote(
  async (index, ms) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    const partitions = Array.from({ length: reduces }, (_, r) => new Uint32Array(partitionLength).fill(index * reduces + r + 1));
    const { nodeId, attemptNumber } = tray.getRuntimeContext();
    return [...partitions, { nodeId, attemptNumber }];
  },
  { numReturns: reduces + 1, schedulingStrategy: "SPREAD", maxRetries: -1 },
);
const reduce = tray.remote(
  (...partitions) => {
    let sum = 0;
    for (const partition of partitions) for (const value of partition) sum += value;
    return { sum, nodeId: tray.getRuntimeContext().nodeId };
  },
  { schedulingStrategy: "SPREAD", maxRetries: -1 },
);

const parts = Array.from({ length: maps }, (_, i) => map.remote(i, Number(mapMs)));
say("mapping", {});
const made = await tray.get(parts.map((p) => p[reduces]));
const nodes = await tray.nodes();
say("mapped", countBy(made.map((m) => nodeName(nodes, m.nodeId))));
while (gate !== undefined && !existsSync(gate)) await delay(10);

const reduced = await tray.get(Array.from({ length: reduces }, (_, r) => reduce.remote(...parts.map((p) => p[r]))));
let expected = 0;
for (let i = 0; i < maps * reduces; i++) expected += (i + 1) * partitionLength;
say("result", {
  sum: reduced.reduce((total, { sum }) => total + sum, 0),
  expected,
  mappedOn: countBy(made.map((m) => nodeName(nodes, m.nodeId))),
  reducedOn: countBy(reduced.map((r) => nodeName(nodes, r.nodeId))),
  retried: made.filter((m) => m.attemptNumber > 0).length,
});
