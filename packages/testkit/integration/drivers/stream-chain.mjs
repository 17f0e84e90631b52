// Streams of streams over nodes, and streams that fail in the middle: what is left is looked at from outside. Argument: a file whose appearance ends it.
//   says: chain {values, nodes}, concurrent {order}, forgotten {ends}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [end] = process.argv.slice(2);
await tray.init();
const nodes = (await tray.nodes()).filter((n) => n.alive);

class Link {
  constructor(before) {
    this.before = before;
  }
  async *stream(n) {
    const { nodeId } = tray.getRuntimeContext();
    if (this.before === undefined) for (let i = 0; i < n; i++) yield { through: [nodeId], block: new Float64Array(40_000).fill(i) };
    else
      for await (const ref of this.before.stream.remote(n)) {
        const { through, block } = await tray.get(ref);
        yield { through: [...through, nodeId], block: block.map((x) => x + 1000) };
      }
  }
}
const RemoteLink = tray.remote(Link, { numCpus: 0 });
let last;
for (let i = 0; i < 4; i++) last = RemoteLink.options({ schedulingStrategy: { nodeId: nodes[i % nodes.length].nodeId, soft: false } }).remote(last);
const values = [];
const ways = new Set();
for await (const ref of last.stream.options({ generatorBackpressureNumObjects: 3 }).remote(12)) {
  const { through, block } = await tray.get(ref);
  ways.add(through.map((id) => nodes.findIndex((n) => n.nodeId === id)).join(" "));
  values.push(block[0]);
  if (block.length !== 40_000 || block.some((x) => x !== block[0])) throw new Error("wrong block");
  ref.release();
}
say("chain", { values, ways: [...ways], nodes: nodes.length });

// Two streams of one actor take turns: each waits for the other's step.
class Turns {
  log = [];
  waiting = new Map();
  async *take(name, other, n) {
    for (let i = 0; i < n; i++) {
      this.log.push(`${name}${i}`);
      this.waiting.get(`${name}${i}`)?.();
      if (!this.log.includes(`${other}${i}`)) await new Promise((resolve) => this.waiting.set(`${other}${i}`, resolve));
      yield `${name}${i}`;
    }
  }
}
const turns = tray.remote(Turns, { numCpus: 0, maxConcurrency: 4 }).remote();
const all = async (items) => {
  const got = [];
  for await (const ref of items) got.push(await tray.get(ref));
  return got;
};
say("concurrent", await Promise.all([all(turns.take.remote("a", "b", 5)), all(turns.take.remote("b", "a", 5))]));

// Streams that end badly, large and small items in turn; everything is forgotten.
const bad = tray.remote(
  async function* (how) {
    for (let i = 0; i < 6; i++) {
      if (i === 4 && how === "throws") throw new Error("enough");
      if (i === 4 && how === "dies" && tray.getRuntimeContext().attemptNumber === 0) process.kill(process.pid, "SIGKILL");
      if (i === 4 && how === "dies for good") process.kill(process.pid, "SIGKILL");
      yield i % 2 === 0 ? new Uint8Array(300_000).fill(i) : i;
    }
  },
  { numCpus: 0.2, maxRetries: 1 },
);
class Source {
  *stream(how) {
    for (let i = 0; i < 6; i++) {
      if (i === 4 && how === "throws") throw new Error("enough");
      if (i === 4 && how === "dies") process.kill(process.pid, "SIGKILL");
      yield i % 2 === 0 ? new Uint8Array(300_000).fill(i) : i;
    }
  }
}
const RemoteSource = tray.remote(Source, { numCpus: 0 });
const ends = {};
async function consume(name, items, readAll) {
  let count = 0;
  let error = "none";
  for await (const ref of items) {
    count++;
    if (!readAll && count % 3 !== 0) continue;
    await tray.get(ref).catch((thrown) => (error = thrown.constructor.name));
  }
  ends[name] = readAll ? [count, error] : "unread";
}
for (const readAll of [true, false]) {
  const kind = readAll ? "" : ", hardly read";
  const sources = ["throws", "dies", "ends"].map((how) => consume(`actor ${how}${kind}`, RemoteSource.remote().stream.remote(how), readAll));
  // One after the other: a task that kills its worker takes those along that were pushed behind it.
  for (const how of readAll ? ["throws", "dies", "dies for good", "ends"] : ["throws", "dies"]) await consume(how + kind, bad.remote(how), readAll);
  await Promise.all(sources);
}
last = undefined;
say("forgotten", ends);
while (!existsSync(end)) await delay(10);
await tray.shutdown();
