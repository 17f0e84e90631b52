// Streams that have ended on a node, nobody holding their generators any more; then the node dies with all items. Argument: a file whose appearance
// tells that it did.   says: taken, again, sums, failed, unretried
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const gate = process.argv[2];
await tray.init();
const far = (await tray.nodes()).find((n) => n.nodeName === "doomed" && n.alive).nodeId;
const onFar = { schedulingStrategy: { nodeId: far, soft: true }, maxRetries: 3 };
const blocks = tray.remote(function* (n, failsAt) {
  const { nodeId, attemptNumber } = tray.getRuntimeContext();
  for (let i = 1; i <= n; i++) {
    if (i === failsAt && attemptNumber > 0) throw new RangeError(`not again: ${i}`);
    yield { i, nodeId, block: new Float64Array(50_000).fill(i) };
  }
}, onFar);

async function take(items) {
  const refs = [];
  for await (const ref of items) refs.push(ref);
  items.release();
  return refs;
}
const plain = await take(blocks.remote(5));
const failing = await take(blocks.remote(5, 3));
const unretried = await take(blocks.options({ maxRetries: 0 }).remote(3));
// What a task of another node made of them as they came.
const sums = tray.remote((item) => item.block.reduce((a, b) => a + b), { numCpus: 0.5 });
say("taken", { plain: plain.length, failing: failing.length, unretried: unretried.length });

while (!existsSync(gate)) await delay(10);
const outcomes = async (refs) =>
  await Promise.all(
    refs.map((ref) =>
      tray.get(ref).then(
        (item) => item,
        (error) => error,
      ),
    ),
  );
const describe = (outcome) =>
  outcome instanceof Error
    ? { error: outcome.constructor.name, code: outcome.code, message: outcome.message, cause: outcome.cause?.message }
    : { i: outcome.i, isNew: outcome.nodeId !== far, right: outcome.block.length === 50_000 && outcome.block.every((x) => x === outcome.i) };
say("again", (await outcomes(plain)).map(describe));
say("sums", await tray.get(plain.map((ref) => sums.remote(ref))));
say("failed", (await outcomes(failing)).map(describe));
say("unretried", (await outcomes(unretried)).map(describe));
await tray.shutdown();
