// A stream of large items whose node dies when three of them are taken and not read: they are lost with it.
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const gate = process.argv[2];
await tray.init();
const nodes = await tray.nodes();
const far = nodes.find((n) => n.nodeName === "far");
const blocks = tray.remote(
  function* (n) {
    const { nodeId } = tray.getRuntimeContext();
    for (let i = 1; i <= n; i++) yield { i, nodeId, block: new Float64Array(50_000).fill(i) };
  },
  { schedulingStrategy: { nodeId: far.nodeId, soft: true }, generatorBackpressureNumObjects: 2, maxRetries: 3 },
);
const items = blocks.remote(6);
const refs = [];
for (let k = 0; k < 3; k++) refs.push((await items.next()).value);
say("taken", { onFar: far !== undefined });
while (!existsSync(gate)) await delay(10);
for await (const ref of items) refs.push(ref);
const values = await tray.get(refs);
const right = values.filter((v) => v.block.length === 50_000 && v.block.every((x) => x === v.i));
say("rest", { values: right.map((v) => v.i), again: values.slice(0, 3).flatMap((v) => (v.nodeId === far.nodeId ? [] : [v.i])) });
items.release();
await tray.shutdown();
