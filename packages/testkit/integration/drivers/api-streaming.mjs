import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tray from "tray";
import { check, delay, rejection, runChecks } from "./checks.mjs";

await tray.init();
const dir = mkdtempSync(join(tmpdir(), "tray-streaming-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
const fileOf = (name) => join(dir, name);
const read = (file) => (existsSync(file) ? readFileSync(file, "utf8") : "");
async function until(what, condition) {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return;
    await delay(10);
  }
  throw new Error(`waited in vain for ${what}`);
}
async function valuesOf(items) {
  const values = [];
  for await (const ref of items) values.push(await tray.get(ref));
  return values;
}
/** Yields 1 to n, telling a file how far it came. */
const counting = tray.remote(function* (n, file) {
  try {
    for (let i = 1; i <= n; i++) {
      appendFileSync(file, `${i} `);
      yield i;
    }
  } finally {
    appendFileSync(file, "finally");
  }
});

check("a generator function streams, without being told to", async () => {
  const upTo = tray.remote(function* (n) {
    for (let i = 1; i <= n; i++) yield i;
  });
  const items = upTo.remote(5);
  assert.ok(items instanceof tray.ObjectRefGenerator);
  assert.deepEqual(await valuesOf(items), [1, 2, 3, 4, 5]);
  assert.deepEqual(await valuesOf(upTo.remote(0)), []);
});

check("an async generator streams; what it yields is awaited", async () => {
  const later = tray.remote(async function* (names) {
    for (const name of names) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      yield Promise.resolve({ name });
    }
  });
  assert.deepEqual(await valuesOf(later.remote(["a", "b"])), [{ name: "a" }, { name: "b" }]);
});

check("numReturns: streaming takes what a plain function returns, if it can be iterated step by step", async () => {
  const made = tray.remote((n) => Array.from({ length: n }, (_, i) => i).values(), { numReturns: "streaming" });
  assert.deepEqual(await valuesOf(made.remote(3)), [0, 1, 2]);
  const promised = tray.remote(
    async () =>
      (async function* () {
        yield "x";
      })(),
    { numReturns: "streaming" },
  );
  assert.deepEqual(await valuesOf(promised.remote()), ["x"]);
});

check("what is no generator fails with words", async () => {
  const items = tray.remote(() => [1, 2], { numReturns: "streaming" }).remote();
  const { value: ref } = await items.next();
  const error = await rejection(tray.get(ref));
  assert.ok(error instanceof tray.TaskError);
  assert.match(error.message, /must return a generator.*it returned an array/);
  assert.deepEqual(await items.next(), { done: true, value: undefined });
});

check("an item can be read while the generator goes on", async () => {
  const file = fileOf("gate");
  const gated = tray.remote(async function* (gate) {
    yield "first";
    while (!existsSync(gate)) await new Promise((resolve) => setTimeout(resolve, 5));
    yield "second";
  });
  const items = gated.remote(file);
  const first = (await items.next()).value;
  assert.equal(await tray.get(first), "first");
  const second = items.next();
  assert.equal(await Promise.race([second, delay(50).then(() => "not yet")]), "not yet");
  writeFileSync(file, "");
  assert.equal(await tray.get((await second).value), "second");
  assert.equal((await items.next()).done, true);
});

check("large items go through shared memory, and are freed when they are let go", async () => {
  const blocks = tray.remote(function* (n) {
    for (let i = 0; i < n; i++) yield new Float64Array(200_000).fill(i);
  });
  let i = 0;
  for await (const ref of blocks.options({ generatorBackpressureNumObjects: 2 }).remote(20)) {
    const block = await tray.get(ref);
    assert.equal(block.length, 200_000);
    assert.equal(block[199_999], i++);
    ref.release();
  }
  assert.equal(i, 20);
});

check("items are references like any other: wait, arguments, nested", async () => {
  const items = tray.remote(function* () {
    yield 1;
    yield 2;
    yield 3;
  });
  const refs = [];
  for await (const ref of items.remote()) refs.push(ref);
  const [ready] = await tray.wait(refs, { numReturns: 3 });
  assert.equal(ready.length, 3);
  assert.equal(await tray.get(tray.remote((a, b) => a + b).remote(refs[0], refs[1])), 3);
  assert.equal(await tray.get(tray.remote(async (list) => (await tray.get(list)).reduce((a, b) => a + b)).remote(refs)), 6);
  assert.deepEqual(await tray.get(refs), [1, 2, 3]);
});

check("references inside items are held for the consumer", async () => {
  const puts = tray.remote(async function* (n) {
    for (let i = 0; i < n; i++) yield { inner: await tray.put({ i }) };
  });
  const inner = [];
  for await (const ref of puts.remote(5)) {
    inner.push((await tray.get(ref)).inner);
    ref.release();
  }
  assert.deepEqual(await tray.get(inner), [{ i: 0 }, { i: 1 }, { i: 2 }, { i: 3 }, { i: 4 }]);
});

check("the generator pauses at so many items that nobody has taken", async () => {
  const file = fileOf("paused");
  const items = counting.options({ generatorBackpressureNumObjects: 3 }).remote(10, file);
  await until("three items", () => read(file) === "1 2 3 ");
  await delay(100);
  assert.equal(read(file), "1 2 3 ");
  await items.next();
  await until("the fourth", () => read(file) === "1 2 3 4 ");
  await delay(50);
  assert.equal(read(file), "1 2 3 4 ");
  assert.equal((await valuesOf(items)).length, 9);
  assert.match(read(file), /10 finally$/);
});

check("a generator that pauses gives its CPU to others", async () => {
  const everything = (await tray.clusterResources()).CPU;
  const file = fileOf("lent");
  const items = counting.options({ generatorBackpressureNumObjects: 1, numCpus: everything }).remote(3, file);
  const echo = tray.remote((x) => x, { numCpus: everything });
  const values = [];
  for await (const ref of items) values.push(await tray.get(echo.remote(ref)));
  assert.deepEqual(values, [1, 2, 3]);
});

check("an exception is the last item; those before it stay good", async () => {
  const failing = tray.remote(function* () {
    yield 1;
    yield 2;
    throw new RangeError("enough");
  });
  const refs = [];
  for await (const ref of failing.remote()) refs.push(ref);
  assert.equal(refs.length, 3);
  assert.deepEqual(await tray.get(refs.slice(0, 2)), [1, 2]);
  const error = await rejection(tray.get(refs[2]));
  assert.ok(error instanceof tray.TaskError && error.cause instanceof RangeError);
});

check("an item that cannot travel fails with its number; what was made for it is undone", async () => {
  const file = fileOf("refused");
  const refs = [];
  const leaky = tray.remote(function* (log) {
    try {
      yield 1;
      yield { deep: [(function* () {})()] };
      yield 3;
    } finally {
      appendFileSync(log, "finally");
    }
  });
  for await (const ref of leaky.remote(file)) refs.push(ref);
  assert.equal(refs.length, 2);
  const error = await rejection(tray.get(refs[1]));
  assert.match(error.message, /item 2 of anonymous cannot be shipped: \.deep\[0\] → a running generator/);
  assert.equal(read(file), "finally");
});

check("a plain function that returns a generator says what to set", async () => {
  const error = await rejection(tray.get(tray.remote(() => (function* () {})()).remote()));
  assert.match(error.message, /a running generator; .* numReturns: "streaming"/);
});

check("retryExceptions goes on behind the items that were delivered", async () => {
  const file = fileOf("retried");
  const flaky = tray.remote(
    function* (log) {
      const { attemptNumber } = tray.getRuntimeContext();
      for (let i = 1; i <= 4; i++) {
        if (i === 3 && attemptNumber === 0) throw new Error("again");
        appendFileSync(log, `${attemptNumber}:${i} `);
        yield `${i} of attempt ${attemptNumber}`;
      }
    },
    { retryExceptions: true },
  );
  assert.deepEqual(await valuesOf(flaky.remote(file)), ["1 of attempt 0", "2 of attempt 0", "3 of attempt 1", "4 of attempt 1"]);
  assert.equal(read(file), "0:1 0:2 1:1 1:2 1:3 1:4 ");
});

check("a worker killed in mid-stream: items stay good, the rest is made by another", async () => {
  const blocks = tray.remote(function* (n) {
    const { attemptNumber } = tray.getRuntimeContext();
    for (let i = 1; i <= n; i++) {
      yield { i, pid: process.pid, attemptNumber, block: i % 2 === 0 ? new Float64Array(50_000).fill(i) : undefined };
      if (i === 3 && attemptNumber === 0) process.kill(process.pid, "SIGKILL");
    }
  });
  const items = blocks.options({ generatorBackpressureNumObjects: 2 }).remote(6);
  const refs = [];
  for await (const ref of items) refs.push(ref);
  const values = await tray.get(refs);
  assert.deepEqual(
    values.map((v) => v.i),
    [1, 2, 3, 4, 5, 6],
  );
  assert.equal(values[1].block[49_999], 2);
  assert.deepEqual([values[0].attemptNumber, values[5].attemptNumber], [0, 1]);
  assert.notEqual(values[0].pid, values[5].pid);
});

check("without retries the death of the worker is the last item", async () => {
  const dying = tray.remote(
    function* () {
      yield 1;
      process.kill(process.pid, "SIGKILL");
    },
    { maxRetries: 0 },
  );
  const refs = [];
  for await (const ref of dying.remote()) refs.push(ref);
  const error = await rejection(tray.get(refs.at(-1)));
  assert.ok(error instanceof tray.WorkerCrashedError, String(error));
  if (refs.length === 2) assert.equal(await tray.get(refs[0]), 1); // it was on its way
});

check("a replay that yields less than before fails with words", async () => {
  const file = fileOf("shrinking");
  const shrinking = tray.remote(async function* (taken) {
    const { attemptNumber } = tray.getRuntimeContext();
    const n = attemptNumber === 0 ? 3 : 1;
    for (let i = 1; i <= n; i++) yield i;
    while (!existsSync(taken)) await new Promise((resolve) => setTimeout(resolve, 5));
    if (attemptNumber === 0) process.kill(process.pid, "SIGKILL");
  });
  const items = shrinking.remote(file);
  const refs = [];
  for (let i = 0; i < 3; i++) refs.push((await items.next()).value);
  writeFileSync(file, "");
  const last = (await items.next()).value;
  const error = await rejection(tray.get(last));
  assert.ok(error instanceof tray.ObjectReconstructionFailedError);
  assert.match(error.message, /yielded 1 items when it was run again.*3 had been delivered/);
  assert.equal((await items.next()).done, true);
  assert.deepEqual(await tray.get(refs), [1, 2, 3]);
});

check("leaving the loop ends the generator, its finally blocks run; taken items stay", async () => {
  const file = fileOf("left");
  let kept;
  for await (const ref of counting.options({ generatorBackpressureNumObjects: 2 }).remote(1000, file)) {
    kept = ref;
    break;
  }
  await until("the finally block", () => read(file).endsWith("finally"));
  assert.match(read(file), /^1 (2 )?(3 )?finally$/);
  assert.equal(await tray.get(kept), 1);
});

check("leaving the loop does not end tasks whose references were taken", async () => {
  const slow = tray.remote(async (x) => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return x;
  });
  const submitting = tray.remote(function* () {
    for (let i = 1; ; i++) yield [slow.options({ numCpus: 0 }).remote(i)];
  });
  let inner;
  for await (const ref of submitting.options({ generatorBackpressureNumObjects: 1 }).remote()) {
    [inner] = await tray.get(ref);
    break;
  }
  assert.equal(await tray.get(inner), 1);
});

check("an async generator that is left gets to its finally block; so does one that waits for its signal", async () => {
  const file = fileOf("left-async");
  const waiting = tray.remote(async function* (log) {
    const { signal } = tray.getRuntimeContext();
    try {
      yield 1;
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
    } finally {
      await new Promise((resolve) => setTimeout(resolve, 10));
      appendFileSync(log, "finally");
    }
  });
  const items = waiting.remote(file);
  await items.next();
  await delay(20);
  await items.return();
  await until("the finally block", () => read(file) === "finally");
  assert.equal((await items.next()).done, true);
});

check("a generator that nobody holds is collected, and its task cancelled", async () => {
  const file = fileOf("collected");
  (() => void counting.options({ generatorBackpressureNumObjects: 2 }).remote(1000, file))();
  await until("items", () => read(file).startsWith("1 2"));
  await until("the garbage collection", () => {
    globalThis.gc();
    return read(file).endsWith("finally");
  });
});

check("cancel ends the stream with TaskCancelledError", async () => {
  const file = fileOf("cancelled");
  const items = counting.options({ generatorBackpressureNumObjects: 2 }).remote(1000, file);
  const first = (await items.next()).value;
  await tray.cancel(items);
  const refs = [];
  for await (const ref of items) refs.push(ref);
  assert.equal(await tray.get(first), 1);
  const error = await rejection(tray.get(refs.at(-1)));
  assert.ok(error instanceof tray.TaskCancelledError);
  assert.ok(read(file).endsWith("finally"));
});

check("a dependency that failed is the only item", async () => {
  const failing = tray.remote(() => {
    throw new Error("upstream");
  });
  const through = tray.remote(function* (x) {
    yield x;
  });
  const refs = [];
  for await (const ref of through.remote(failing.remote())) refs.push(ref);
  assert.equal(refs.length, 1);
  assert.ok((await rejection(tray.get(refs[0]))) instanceof tray.TaskError);
});

check("streams of streams", async () => {
  const source = tray.remote(function* (n) {
    for (let i = 1; i <= n; i++) yield i;
  });
  const squares = tray.remote(async function* (n) {
    for await (const ref of source.options({ generatorBackpressureNumObjects: 1 }).remote(n)) yield (await tray.get(ref)) ** 2;
  });
  assert.deepEqual(
    await valuesOf(squares.remote(20)),
    Array.from({ length: 20 }, (_, i) => (i + 1) ** 2),
  );
});

check("methods of actors stream", async () => {
  class Source {
    at = 0;
    *take(n) {
      for (let i = 0; i < n; i++) yield ++this.at;
    }
    async *later(n) {
      for (let i = 0; i < n; i++) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        yield ++this.at;
      }
    }
    list(n) {
      return [n].values();
    }
    now() {
      return this.at;
    }
  }
  const source = tray.remote(Source, { name: "source" }).remote();
  assert.deepEqual(await valuesOf(source.take.remote(3)), [1, 2, 3]);
  assert.deepEqual(await valuesOf(source.later.remote(2)), [4, 5]);
  assert.deepEqual(await valuesOf(source.list.options({ numReturns: "streaming" }).remote(9)), [9]);
  const found = await tray.getActor("source");
  assert.deepEqual(await valuesOf(found.take.remote(2)), [6, 7]); // a handle by name knows its generators
  const items = source.take.options({ generatorBackpressureNumObjects: 2 }).remote(1000);
  await items.next();
  const after = source.now.remote(); // in order: behind the stream
  await items.return();
  assert.ok((await tray.get(after)) <= 11);
});

check("an actor that dies in mid-stream: the death is the last item", async () => {
  class Mortal {
    *take() {
      yield 1;
      yield 2;
      process.kill(process.pid, "SIGKILL");
    }
  }
  const refs = [];
  for await (const ref of tray.remote(Mortal).remote().take.remote()) refs.push(ref);
  const error = await rejection(tray.get(refs.at(-1)));
  assert.ok(error instanceof tray.ActorDiedError, String(error));
});

check("with maxTaskRetries a stream of an actor goes on after its restart", async () => {
  class Restarted {
    *take(n) {
      for (let i = 1; i <= n; i++) {
        yield i;
        if (i === 2 && !tray.getRuntimeContext().wasCurrentActorReconstructed) process.kill(process.pid, "SIGKILL");
      }
    }
  }
  const actor = tray.remote(Restarted, { maxRestarts: 1, maxTaskRetries: 1 }).remote();
  assert.deepEqual(await valuesOf(actor.take.options({ generatorBackpressureNumObjects: 2 }).remote(5)), [1, 2, 3, 4, 5]);
});

check("a generator stays in its process; bad options are refused at once", async () => {
  const items = counting.remote(1, fileOf("unused"));
  assert.throws(
    () => tray.remote((x) => x).remote(items),
    (e) => e instanceof tray.SerializationError,
  );
  await valuesOf(items);
  assert.throws(() => counting.options({ generatorBackpressureNumObjects: 0 }), /generatorBackpressureNumObjects/);
  assert.throws(() => counting.options({ numReturns: "flowing" }), /numReturns/);
  const other = counting.remote(1, fileOf("unused"));
  assert.match((await rejection(tray.get(other))).message, /ObjectRefGenerator.*for await/);
  other.release();
});

check("many items, without a limit", async () => {
  const upTo = tray.remote(
    function* (n) {
      for (let i = 0; i < n; i++) yield i;
    },
    { generatorBackpressureNumObjects: -1 },
  );
  let next = 0;
  for await (const ref of upTo.remote(5000)) {
    if (next % 500 === 0) assert.equal(await tray.get(ref), next);
    next++;
    ref.release();
  }
  assert.equal(next, 5000);
});

check("nothing is left", async () => {
  await until("the cluster to be free", async () => {
    globalThis.gc();
    const total = await tray.clusterResources();
    const free = await tray.availableResources();
    return free.CPU === total.CPU;
  });
});

await runChecks();
await tray.shutdown();
