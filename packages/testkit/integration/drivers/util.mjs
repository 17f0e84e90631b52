import assert from "node:assert/strict";
import * as tray from "tray";
import { ActorPool, map, Queue, QueueEmptyError, QueueFullError } from "tray/util";
import { check, delay, rejection, runChecks } from "./checks.mjs";

await tray.init();

class Squarer {
  #calls = 0;
  square(n) {
    this.#calls++;
    if (n < 0) throw new RangeError(`negative: ${n}`);
    return n * n;
  }
  async squareAfter(n, ms) {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.square(n);
  }
  calls() {
    return this.#calls;
  }
  die() {
    process.exit(3);
  }
}
const SquarerActor = tray.remote(Squarer, { numCpus: 0 });
const squarers = (n, options = {}) => Array.from({ length: n }, () => SquarerActor.options(options).remote());
const collect = async (results) => {
  const list = [];
  for await (const result of results) list.push(result);
  return list;
};

check("ActorPool.map: every value once, results in order, all actors used", async () => {
  const actors = squarers(3);
  const pool = new ActorPool(actors);
  const values = Array.from({ length: 40 }, (_, i) => i);
  // The first value takes longest: the others must not wait for it to begin, and its result still comes first.
  const results = await collect(pool.map((actor, n) => actor.squareAfter.remote(n, n === 0 ? 150 : 1), values));
  assert.deepEqual(
    results,
    values.map((n) => n * n),
  );
  const calls = await tray.get(actors.map((actor) => actor.calls.remote()));
  assert.equal(
    calls.reduce((a, b) => a + b),
    40,
  );
  assert.ok(
    calls.every((n) => n > 0),
    `calls of each actor: ${calls}`,
  );
});

check("ActorPool.mapUnordered gives what is ready first", async () => {
  const pool = new ActorPool(squarers(2));
  const results = await collect(
    pool.mapUnordered(
      (actor, [n, ms]) => actor.squareAfter.remote(n, ms),
      [
        [9, 600],
        [2, 1],
        [3, 1],
      ],
    ),
  );
  assert.equal(results.at(-1), 81);
  assert.deepEqual(
    results.sort((a, b) => a - b),
    [4, 9, 81],
  );
});

check("ActorPool.submit: getNext in order, getNextUnordered as they come, timeouts leave the result", async () => {
  const pool = new ActorPool(squarers(2));
  assert.deepEqual([pool.hasNext(), pool.hasFree()], [false, true]);
  pool.submit((actor, n) => actor.squareAfter.remote(n, 400), 2);
  pool.submit((actor, n) => actor.square.remote(n), 3);
  assert.deepEqual([pool.hasNext(), pool.hasFree(), pool.popIdle()], [true, false, undefined]);
  assert.equal(await pool.getNextUnordered(), 9);
  assert.ok((await rejection(pool.getNext({ timeout: 1 }))) instanceof tray.GetTimeoutError);
  assert.equal(await pool.getNext(), 4);
  assert.deepEqual([pool.hasNext(), pool.hasFree()], [false, true]);
  assert.equal((await rejection(pool.getNext())).code, "INVALID_ARGUMENT");
  for (let n = 0; n < 20; n++) pool.submit((actor, value) => actor.square.remote(value), n);
  for (let n = 0; n < 20; n++) assert.equal(await pool.getNext(), n * n);
  const taken = pool.popIdle();
  assert.equal(await tray.get(taken.square.remote(5)), 25);
  pool.push(taken);
  assert.throws(() => pool.push(taken), /already/);
});

check("ActorPool: a call that throws fails alone; a dead actor leaves the pool and the others go on", async () => {
  const actors = squarers(2);
  const pool = new ActorPool(actors);
  pool.submit((actor, n) => actor.square.remote(n), -1);
  const error = await rejection(pool.getNext());
  assert.ok(error instanceof tray.TaskError);
  assert.ok(error.cause instanceof RangeError);
  await rejection(tray.get(actors[0].die.remote()));
  const failures = [];
  const results = [];
  for (let n = 0; n < 12; n++) pool.submit((actor, value) => actor.squareAfter.remote(value, 1), n);
  while (pool.hasNext()) {
    await pool.getNext().then(
      (value) => results.push(value),
      (failure) => failures.push(failure),
    );
  }
  assert.ok(failures.length <= 1, `${failures.length} calls went to the dead actor`);
  assert.ok(failures.every((failure) => failure instanceof tray.ActorDiedError));
  assert.equal(results.length + failures.length, 12);
  await rejection(tray.get(actors[1].die.remote()));
  pool.submit((actor, n) => actor.square.remote(n), 1);
  pool.submit((actor, n) => actor.square.remote(n), 2);
  assert.ok((await rejection(pool.getNext())) instanceof tray.ActorDiedError);
  assert.ok((await rejection(pool.getNext())) instanceof tray.ActorDiedError);
  pool.push(squarers(1)[0]);
  pool.submit((actor, n) => actor.square.remote(n), 4);
  assert.equal(await pool.getNext(), 16);
});

check("map: tasks over an array, a generator, an asynchronous input, a remote function, references", async () => {
  assert.deepEqual(await collect(map((n) => n + 1, [1, 2, 3])), [2, 3, 4]);
  const double = tray.remote((n) => n * 2);
  function* numbers() {
    for (let n = 0; n < 30; n++) yield n;
  }
  assert.deepEqual(
    await collect(map(double, numbers(), { maxInFlight: 4 })),
    Array.from({ length: 30 }, (_, n) => n * 2),
  );
  async function* later() {
    for (const n of [5, 6]) {
      await delay(1);
      yield n;
    }
  }
  assert.deepEqual((await collect(map(double, later(), { ordered: false }))).sort(), [10, 12]);
  assert.deepEqual(await collect(map(double, [await tray.put(7), 8])), [14, 16]);
  assert.deepEqual(await collect(map(double, [])), []);
});

check("map: never more in flight than allowed; an endless input is read as far as it is used", async () => {
  class Meter {
    running = 0;
    most = 0;
    enter() {
      this.most = Math.max(this.most, ++this.running);
    }
    leave() {
      this.running--;
      return this.most;
    }
  }
  const meter = tray.remote(Meter, { numCpus: 0 }).remote();
  let read = 0;
  function* endless() {
    for (;;) yield read++;
  }
  const work = tray.remote(
    async (n) => {
      await tray.get(meter.enter.remote());
      return [n, await tray.get(meter.leave.remote())];
    },
    { numCpus: 0.1 },
  );
  let most = 0;
  for await (const [n, seen] of map(work, endless(), { maxInFlight: 3 })) {
    most = Math.max(most, seen);
    if (n === 20) break;
  }
  assert.ok(most <= 3, `${most} at once`);
  assert.ok(read <= 24, `${read} items were read for 21 results`);
});

check("map: a failing task throws its error in its place; a signal ends it and cancels what runs", async () => {
  const picky = (n) => {
    if (n === 2) throw new RangeError("two");
    return n;
  };
  const seen = [];
  const error = await rejection(
    (async () => {
      for await (const n of map(picky, [0, 1, 2, 3])) seen.push(n);
    })(),
  );
  assert.ok(error instanceof tray.TaskError && error.cause instanceof RangeError);
  assert.deepEqual(seen, [0, 1]);
  const flag = new Queue();
  const hang = tray.remote(async () => {
    const { signal } = tray.getRuntimeContext();
    await flag.put("running");
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve)); // it may have come with the answer to put
    await flag.put("cancelled");
  });
  const aborter = new AbortController();
  const results = map(hang, [1], { signal: aborter.signal });
  const next = results.next();
  assert.equal(await flag.get({ timeout: "10s" }), "running");
  aborter.abort(new Error("enough"));
  assert.equal((await rejection(next)).message, "enough");
  assert.equal(await flag.get({ timeout: "10s" }), "cancelled");
  assert.equal((await rejection(map(hang, [1], { maxInFlight: 0 }).next())).code, "INVALID_ARGUMENT");
});

check("Queue: first in, first out, in order of one caller, everything that values can be", async () => {
  const queue = new Queue();
  assert.deepEqual([await queue.size(), await queue.empty(), await queue.full()], [0, true, false]);
  const ref = await tray.put("behind a reference");
  const big = new Float64Array(1 << 17).fill(2);
  await Promise.all([queue.put(1), queue.put(undefined), queue.put(ref), queue.put(big)]);
  assert.equal(await queue.size(), 4);
  assert.equal(await queue.get(), 1);
  assert.equal(await queue.get(), undefined);
  const back = await queue.get();
  assert.ok(back instanceof tray.ObjectRef);
  assert.equal(await tray.get(back), "behind a reference");
  assert.deepEqual(await queue.get(), big);
  assert.equal(await queue.empty(), true);
});

check("Queue: bounded: put waits for room, get for an item; timeouts and nowait say so and lose nothing", async () => {
  const queue = new Queue({ maxSize: 2 });
  await queue.put("a");
  await queue.put("b");
  assert.equal(await queue.full(), true);
  const full = await rejection(queue.put("c", { timeout: 20 }));
  assert.ok(full instanceof QueueFullError && full instanceof tray.TrayError);
  assert.deepEqual([full.name, full.code, full instanceof QueueEmptyError], ["QueueFullError", "QUEUE_FULL", false]);
  assert.ok((await rejection(queue.putNowait("c"))) instanceof QueueFullError);
  const waiting = queue.put("d");
  assert.deepEqual([await queue.get(), await queue.get()], ["a", "b"]);
  await waiting;
  assert.equal(await queue.getNowait(), "d");
  const empty = await rejection(queue.get({ timeout: 20 }));
  assert.ok(empty instanceof QueueEmptyError);
  assert.ok((await rejection(queue.getNowait())) instanceof QueueEmptyError);
  assert.ok((await rejection(queue.get({ timeout: 0 }))) instanceof QueueEmptyError);
  const taker = queue.get();
  await queue.putNowait("e");
  assert.equal(await taker, "e");
  assert.equal(await queue.size(), 0, "an item for a get that gave up went into the void");
});

check("Queue: batches go in and out whole or not at all", async () => {
  const queue = new Queue({ maxSize: 3 });
  await queue.putNowaitBatch([1, 2]);
  assert.match((await rejection(queue.putNowaitBatch([3, 4]))).message, /only for 1/);
  assert.equal(await queue.size(), 2);
  assert.match((await rejection(queue.getNowaitBatch(3))).message, /2 items, not 3/);
  assert.deepEqual(await queue.getNowaitBatch(2), [1, 2]);
  assert.deepEqual(await queue.getNowaitBatch(0), []);
  assert.equal((await rejection(queue.getNowaitBatch(-1))).code, "INVALID_ARGUMENT");
});

check("Queue: a signal ends a wait", async () => {
  const queue = new Queue({ maxSize: 1 });
  const aborter = new AbortController();
  const taker = queue.get({ signal: aborter.signal });
  aborter.abort(new Error("no longer"));
  assert.equal((await rejection(taker)).message, "no longer");
  await queue.put(1);
  assert.equal(await queue.get(), 1);
});

check("Queue: tasks put and take, as argument, nested, captured; every item exactly once", async () => {
  const queue = new Queue({ maxSize: 5 });
  const results = new Queue();
  const produce = tray.remote(
    async ({ into }, from, count) => {
      for (let i = 0; i < count; i++) await into.put(from + i);
    },
    { numCpus: 0.5 },
  );
  const consume = tray.remote(
    async (from, count) => {
      for (let i = 0; i < count; i++) await results.put(await from.get());
    },
    { numCpus: 0.5 },
  );
  await tray.get([
    produce.remote({ into: queue }, 0, 50),
    produce.remote({ into: queue }, 50, 50),
    consume.remote(queue, 60),
    consume.remote(queue, 40),
  ]);
  assert.equal(await queue.size(), 0);
  const all = await results.getNowaitBatch(100);
  assert.deepEqual(
    all.sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  );
});

check("Queue: more waiting calls than its actor keeps, and all are served", async () => {
  const queue = new Queue();
  const waiting = Array.from({ length: 1200 }, () => queue.get());
  for (let n = 0; n < 1200; n++) await queue.put(n);
  const got = await Promise.all(waiting);
  assert.deepEqual(
    got.sort((a, b) => a - b),
    Array.from({ length: 1200 }, (_, i) => i),
  );
});

check("Queue: found by name, ended by shutdown", async () => {
  const actorOptions = { name: "shared-queue", getIfExists: true };
  const one = new Queue({ actorOptions });
  const two = new Queue({ actorOptions });
  await one.put("through the name");
  assert.equal(await two.get(), "through the name");
  const waiting = two.get();
  await tray.get(await tray.put(0));
  await one.shutdown();
  assert.ok((await rejection(waiting)) instanceof tray.ActorDiedError);
  assert.ok((await rejection(one.put(1))) instanceof tray.ActorDiedError);
  assert.throws(() => new Queue({ maxSize: -1 }), /maxSize/);
});

await runChecks();
await tray.shutdown();
