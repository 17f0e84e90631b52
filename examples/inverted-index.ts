// An inverted index of every source and documentation file below node_modules: in which files a word stands, and how often.
// Tasks read the files, their results travel to the index as objects, actors hold the index. Kill a worker or a node in the
// middle: lost objects are made again by the tasks that made them, lost actors by their constructors.
//
//   npx tray run examples/inverted-index.ts [--files 300] [--dir node_modules] [--find promise,abort]
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import * as tray from "tray";
import { listFiles, nodeModules, shardsOf, type TextFile } from "./lib/files.js";
import { showProgress } from "./lib/progress.js";

/** For each word the files it stands in, and how often. */
type Postings = Map<string, { files: number[]; counts: number[] }>;

const partitionCount = 4;
function partitionOf(word: string): number {
  let hash = 0;
  for (let i = 0; i < word.length; i++) hash = (hash * 31 + word.charCodeAt(i)) >>> 0;
  return hash % partitionCount;
}

/** The node that did it, then the postings of these files, by partition. */
function indexFiles(files: TextFile[]): [nodeId: string, ...Postings[]] {
  const partitions = Array.from({ length: partitionCount }, (): Postings => new Map());
  for (const { id, path } of files) {
    const text = readFileSync(path, "utf8").toLowerCase();
    const counts = new Map<string, number>();
    for (const word of text.match(/[a-z]{2,32}/g) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    for (const [word, count] of counts) add(partitions[partitionOf(word)]!, word, [id], [count]);
  }
  return [tray.getRuntimeContext().nodeId, ...partitions];
}

function add(postings: Postings, word: string, files: number[], counts: number[]): void {
  const known = postings.get(word);
  if (known === undefined) postings.set(word, { files: [...files], counts: [...counts] });
  else for (const [i, file] of files.entries()) known.counts[known.files.push(file) - 1] = counts[i]!;
}

/** One part of the index. Its constructor is given references and gets their values: made anew elsewhere, it gets them again. */
class Partition {
  readonly #postings: Postings = new Map();

  constructor(...parts: Postings[]) {
    for (const part of parts) for (const [word, { files, counts }] of part) add(this.#postings, word, files, counts);
  }
  filesWith(word: string): number[] {
    return this.#postings.get(word)?.files ?? [];
  }
  /** How often each word occurs. */
  totals(): [word: string, count: number][] {
    return [...this.#postings].map(([word, { counts }]) => [word, counts.reduce((a, b) => a + b)]);
  }
}

const indexShard = tray.remote(indexFiles, { numReturns: partitionCount + 1, maxRetries: -1 });
const RemotePartition = tray.remote(Partition, { maxRestarts: -1, maxTaskRetries: -1 });

const { values: options } = parseArgs({ options: { dir: { type: "string" }, files: { type: "string" }, find: { type: "string" } } });
const dir = options.dir ?? nodeModules();
const files = listFiles(dir, Number(options.files ?? Infinity));
await tray.init(); // the cluster of TRAY_ADDRESS, else the one that runs on this machine, else one for this program alone

// Index: a task for each shard of files, then an actor for each partition, with that partition's part of every shard.
const started = performance.now();
const shards = shardsOf(files, 1_000_000).map((shard) => indexShard.remote(shard));
const tasksByNode = new Map<string, number>();
let done = 0;
for await (const ref of tray.asCompleted(shards.map(([nodeId]) => nodeId))) {
  const nodeId = await tray.get(ref);
  tasksByNode.set(nodeId, (tasksByNode.get(nodeId) ?? 0) + 1);
  showProgress(++done, shards.length, "shards");
}
const partitions = Array.from({ length: partitionCount }, (_, p) => RemotePartition.remote(...shards.map(([, ...parts]) => parts[p]!)));
const totals = new Map((await tray.get(partitions.map((partition) => partition.totals.remote()))).flat());
const seconds = (performance.now() - started) / 1000;

// Query: each word is asked of the one partition that has it.
const words = (options.find ?? "promise,abort,stream").split(",");
const found = await tray.get(words.map((word) => partitions[partitionOf(word)]!.filesWith.remote(word)));
const inAll = found.reduce((a, b) => a.filter((file) => b.includes(file))).map((id) => relative(dir, files[id]!.path));

// Check: the same in this process alone.
const [, ...expected] = indexFiles(files);
const expectedTotals = new Map(expected.flatMap((postings) => new Partition(postings).totals()));
const wrong = [...expectedTotals].filter(([word, count]) => totals.get(word) !== count).length + Math.abs(totals.size - expectedTotals.size);
if (wrong > 0) process.exitCode = 1;

const megabytes = files.reduce((sum, file) => sum + file.bytes, 0) / 1e6;
const names = new Map((await tray.nodes()).map((node) => [node.nodeId, node.nodeName]));
const top = [...totals].sort((a, b) => b[1] - a[1]).slice(0, 8);
console.log(`indexed    ${files.length} files, ${megabytes.toFixed(1)} MB in ${seconds.toFixed(1)} s: ${(megabytes / seconds).toFixed(1)} MB/s`);
console.log(`tasks      ${[...tasksByNode].map(([id, n]) => `${n} on ${names.get(id)}`).join(", ")}`);
console.log(
  `words      ${totals.size}, occurring ${[...totals.values()].reduce((a, b) => a + b)} times; most often ${top.map(([w, n]) => `${w} ${n}`).join(", ")}`,
);
console.log(`query      ${words.join(" and ")}: ${inAll.length} files${inAll.length === 0 ? "" : `, ${inAll[0]} for one`}`);
console.log(`check      ${wrong === 0 ? "equal to what one process alone finds" : `${wrong} words differ from what one process alone finds`}`);
