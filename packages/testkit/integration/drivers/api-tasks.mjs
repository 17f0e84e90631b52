import assert from "node:assert/strict";
import * as tray from "tray";
import { check, delay, rejection, runChecks } from "./checks.mjs";

await tray.init();
const add = tray.remote((a, b) => a + b);

check("a task runs and its result comes back", async () => {
  assert.equal(await tray.get(add.remote(1, 2)), 3);
});

check("get of a list keeps its order", async () => {
  assert.deepEqual(await tray.get([3, 1, 2].map((x) => add.remote(x, 0))), [3, 1, 2]);
});

check("references as arguments are resolved, inside values they stay references", async () => {
  const a = add.remote(1, 2);
  const b = add.remote(a, a);
  assert.equal(await tray.get(b), 6);
  const sum = tray.remote(async (refs, map) => {
    const values = await tray.get(refs);
    return values.reduce((x, y) => x + y, await tray.get(map.get("deep").ref));
  });
  assert.equal(await tray.get(sum.remote([a, b], new Map([["deep", { ref: b }]]))), 15);
});

check("the arguments are those of the call, not of later", async () => {
  const list = [1, 2, 3];
  const length = tray.remote((l) => l.length);
  const ref = length.remote(list);
  list.push(4);
  assert.equal(await tray.get(ref), 3);
});

check("captured variables travel, and are those of the first call", async () => {
  let factor = 10;
  const helper = (x) => x * factor;
  const scale = tray.remote((x) => helper(x));
  assert.equal(await tray.get(scale.remote(2)), 20);
  factor = 11;
  assert.equal(await tray.get(scale.remote(2)), 20);
});

check("a task that awaits its own tasks gives its CPU back", async () => {
  const fib = tray.remote(async (n) => (n < 2 ? n : (await tray.get([fib.remote(n - 1), fib.remote(n - 2)])).reduce((a, b) => a + b)));
  assert.equal(await tray.get(fib.remote(6)), 8);
});

check("remote functions may refer to each other", async () => {
  const isEven = tray.remote(async (n) => n === 0 || tray.get(isOdd.remote(n - 1)));
  const isOdd = tray.remote(async (n) => n !== 0 && tray.get(isEven.remote(n - 1)));
  assert.equal(await tray.get(isEven.remote(4)), true);
  assert.equal(await tray.get(isEven.remote(3)), false);
});

check("numReturns gives as many references", async () => {
  const three = tray.remote(() => [1, "b", { c: 3 }], { numReturns: 3 });
  const refs = three.remote();
  assert.equal(refs.length, 3);
  assert.deepEqual(await tray.get(refs), [1, "b", { c: 3 }]);
});

check("a function that returns too few values for numReturns fails with words", async () => {
  const [first] = tray.remote(() => [1], { numReturns: 2 }).remote();
  assert.match((await rejection(tray.get(first))).message, /numReturns|2/);
});

check("options of a call override those of the function", async () => {
  const two = add.options({ name: "renamed", numCpus: 0 });
  assert.equal(await tray.get(two.remote(2, 2)), 4);
  const named = tray.remote(() => tray.getRuntimeContext().taskName).options({ name: "renamed" });
  assert.equal(await tray.get(named.remote()), "renamed");
  assert.equal(add.function(5, 6), 11);
});

check("retryExceptions tries again, and the task knows which attempt it is", async () => {
  const flaky = tray.remote(
    () => {
      const { attemptNumber } = tray.getRuntimeContext();
      if (attemptNumber < 2) throw new Error("again");
      return attemptNumber;
    },
    { retryExceptions: true },
  );
  assert.equal(await tray.get(flaky.remote()), 2);
});

check("retryExceptions with classes tries again for these only", async () => {
  class Transient extends Error {}
  const flaky = (fatal) =>
    tray.remote(
      () => {
        const { attemptNumber } = tray.getRuntimeContext();
        if (attemptNumber > 0) return attemptNumber;
        throw fatal ? new RangeError("for good") : new Transient("again");
      },
      { retryExceptions: [Transient] },
    );
  assert.equal(await tray.get(flaky(false).remote()), 1);
  assert.match((await rejection(tray.get(flaky(true).remote()))).message, /for good/);
});

class Gate {
  constructor() {
    this.opened = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }
  open() {
    this.resolve();
  }
  async passed() {
    await this.opened;
    return "passed";
  }
}
const gates = () => tray.remote(Gate, { numCpus: 0, maxConcurrency: 2 }).remote();

check("wait: at most numReturns ready, in the order given", async () => {
  const gate = gates();
  const refs = [gate.passed.remote(), add.remote(1, 2)];
  const [ready, rest] = await tray.wait(refs);
  assert.deepEqual([ready[0] === refs[1], rest[0] === refs[0]], [true, true]);
  const [some] = await tray.wait(refs, { numReturns: 2, timeout: 10 });
  assert.equal(some.length, 1);
  gate.open.remote();
  const [all, none] = await tray.wait(refs, { numReturns: 2 });
  assert.deepEqual([all.length, none.length], [2, 0]);
  assert.deepEqual([all[0] === refs[0], all[1] === refs[1]], [true, true]);
});

check("wait takes failed tasks as ready", async () => {
  const bad = tray.remote(() => {
    throw new Error("x");
  });
  const [ready] = await tray.wait([bad.remote()]);
  assert.equal(ready.length, 1);
});

check("asCompleted gives references as they become ready", async () => {
  const gate = gates();
  const seen = [];
  for await (const ref of tray.asCompleted([gate.passed.remote(), add.remote(1, 2)])) {
    seen.push(await tray.get(ref));
    gate.open.remote();
  }
  assert.deepEqual(seen, [3, "passed"]);
});

check("getSync blocks this thread and not the cluster", async () => {
  assert.equal(tray.getSync(add.remote(20, 22)), 42);
  const slow = tray.remote(() => new Promise((resolve) => setTimeout(() => resolve(1), 3_000)));
  const ref = slow.remote();
  assert.throws(
    () => tray.getSync(ref, { timeout: 50 }),
    (e) => e instanceof tray.GetTimeoutError,
  );
  await tray.cancel(ref);
  const bad = tray.remote(() => {
    throw new TypeError("sync too");
  });
  assert.throws(
    () => tray.getSync(bad.remote()),
    (e) => e instanceof tray.TaskError && e.cause instanceof TypeError,
  );
});

check("get with a timeout or a signal lets the task go on", async () => {
  const slow = tray.remote(() => new Promise((resolve) => setTimeout(() => resolve("done"), 600)));
  const ref = slow.remote();
  assert.ok((await rejection(tray.get(ref, { timeout: "50ms" }))) instanceof tray.GetTimeoutError);
  const aborter = new AbortController();
  const reason = new Error("the user has changed their mind");
  const pending = rejection(tray.get(ref, { signal: aborter.signal }));
  aborter.abort(reason);
  assert.equal(await pending, reason);
  assert.equal(await tray.get(ref), "done");
});

check("cancel: queued tasks never run, running ones are told by their signal", async () => {
  const patient = tray.remote(async () => {
    const { signal } = tray.getRuntimeContext();
    await new Promise((resolve) => {
      signal.addEventListener("abort", () => resolve());
    });
    return "told";
  });
  const refs = Array.from({ length: 5 }, () => patient.remote());
  await delay(150);
  for (const ref of refs) await tray.cancel(ref);
  for (const ref of refs) assert.ok((await rejection(tray.get(ref))) instanceof tray.TaskCancelledError);
  assert.equal(await tray.get(add.remote(1, 1)), 2);
});

check("cancel by force ends a task that never yields", async () => {
  const spin = tray.remote(() => {
    for (;;);
  });
  const ref = spin.remote();
  await delay(150);
  await tray.cancel(ref, { force: true });
  assert.ok((await rejection(tray.get(ref))) instanceof tray.TaskCancelledError);
});

check("cancel reaches what the task has submitted", async () => {
  const child = tray.remote(
    () =>
      new Promise((resolve) => {
        setTimeout(() => resolve("ran to its end"), 30_000);
      }),
  );
  const parent = tray.remote(async (box) => {
    const ref = child.remote();
    await tray.get(box.put.remote([ref]));
    return tray.get(ref);
  });
  class Box {
    put(value) {
      this.value = value;
    }
    take() {
      return this.value;
    }
  }
  const box = tray.remote(Box).remote();
  const ref = parent.remote(box);
  let refs;
  while (refs === undefined) refs = await tray.get(box.take.remote());
  await tray.cancel(ref);
  assert.ok((await rejection(tray.get(ref))) instanceof tray.TaskCancelledError);
  const childError = await rejection(tray.get(refs[0], { timeout: 10_000 }));
  assert.ok(childError instanceof tray.TaskCancelledError || childError instanceof tray.OwnerDiedError, childError.stack);
});

check("async functions, fractions of a CPU and none at all", async () => {
  const half = tray.remote(async () => tray.getRuntimeContext().assignedResources, { numCpus: 0.5 });
  assert.equal((await tray.get(half.remote())).CPU, 0.5);
  assert.equal(await tray.get(tray.remote(() => 1, { numCpus: 0 }).remote()), 1);
});

check("the runtime context tells where code runs", async () => {
  const here = tray.getRuntimeContext();
  const there = await tray.get(
    tray
      .remote(function whereami() {
        const { jobId, nodeId, workerId, taskId, taskName, attemptNumber } = tray.getRuntimeContext();
        return { jobId, nodeId, workerId, taskId, taskName, attemptNumber };
      })
      .remote(),
  );
  assert.equal(there.jobId, here.jobId);
  assert.equal(there.nodeId, here.nodeId);
  assert.notEqual(there.workerId, here.workerId);
  assert.match(there.taskId, /^[0-9a-f]{32}$/);
  assert.deepEqual([there.taskName, there.attemptNumber], ["whereami", 0]);
});

check("nodes and resources of the cluster", async () => {
  const [node] = await tray.nodes();
  assert.equal(node.isHead, true);
  assert.equal(node.alive, true);
  assert.ok((await tray.clusterResources()).CPU >= 2);
  assert.ok("CPU" in (await tray.availableResources()));
});

check("ten thousand tasks in flight", async () => {
  const twice = tray.remote((x) => 2 * x);
  const values = await tray.get(Array.from({ length: 10_000 }, (_, i) => twice.remote(i)));
  assert.ok(values.every((v, i) => v === 2 * i));
});

// Last: it costs two workers, and their replacements take a moment to start.
check("timeout ends the attempt and counts as a system failure", async () => {
  const slow = tray.remote(() => new Promise(() => {}), { timeout: "200ms", maxRetries: 1 });
  const error = await rejection(tray.get(slow.remote()));
  assert.ok(error instanceof tray.TaskTimeoutError, String(error));
  assert.match(error.message, /attempt 1.*200 ms/);
  const stuck = tray.remote(
    () => {
      for (;;);
    },
    { timeout: "200ms", maxRetries: 0 },
  );
  assert.ok((await rejection(tray.get(stuck.remote()))) instanceof tray.TaskTimeoutError);
});

await runChecks();
await tray.shutdown();
