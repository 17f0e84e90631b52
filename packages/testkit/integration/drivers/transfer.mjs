// Objects between nodes: one to all of them at once, waits that bring, arguments that fit in turn, and what fits never.
//   argument: a file whose existence lets it go on after brought
//   says: broadcast {sums} · far, brought · pairs {sums} · refused {code, message} · singly
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, rejection, say } from "./checks.mjs";

await tray.init();
const MiB = 2 ** 20;
const others = (await tray.nodes()).filter((n) => n.alive && !n.isHead);
const on = (node) => ({ schedulingStrategy: { nodeId: node.nodeId, soft: false } });
const filled = (mebibytes, value) => new Uint8Array(mebibytes * MiB).fill(value);
const total = (...arrays) => {
  let sum = 0;
  for (const array of arrays) for (let at = 0; at < array.length; at += 4096) sum += array[at];
  return sum;
};

const popular = await tray.put(filled(24, 3));
const sums = await tray.get(others.map((node) => tray.remote(total, on(node)).remote(popular)));
say("broadcast", { sums, expected: (24 * MiB * 3) / 4096 });
popular.release();

const make = tray.remote(filled, on(others[0]));
const far = make.remote(24, 1);
await tray.wait([far], { fetchLocal: false });
say("far", true);
await tray.wait([far]);
say("brought", true);
while (!existsSync(process.argv[2])) await delay(10);
far.release();

// Each pair fills most of the node where both tasks run at the same time.
const args = await Promise.all([1, 2, 3, 4].map((value) => tray.put(filled(36, value))));
const add = tray.remote(total, on(others[1]));
say("pairs", {
  sums: await tray.get([add.remote(args[0], args[1]), add.remote(args[2], args[3])]),
  expected: [1 + 2, 3 + 4].map((n) => (36 * MiB * n) / 4096),
});
for (const ref of args) ref.release();

const many = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((value) => tray.put(filled(32, value))));
const error = await rejection(tray.get(many));
say("refused", { code: error.code, message: error.message });
const singly = [];
for (const ref of many) singly.push((await tray.get(ref))[0]);
say("singly", singly);
await tray.shutdown();
