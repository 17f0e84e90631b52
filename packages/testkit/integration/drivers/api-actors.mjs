import assert from "node:assert/strict";
import * as tray from "tray";
import { check, delay, rejection, runChecks } from "./checks.mjs";

await tray.init({ namespace: "api-actors" });

class Boom extends Error {
  constructor(message, detail) {
    super(message);
    this.detail = detail;
  }
}

class Counter {
  constructor(start = 0) {
    this.n = start;
  }
  inc(by = 1) {
    this.n += by;
    return this.n;
  }
  async slow() {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return ++this.n;
  }
  die() {
    process.exit(7);
  }
  leave() {
    tray.exitActor();
  }
  fail() {
    throw new Boom("actor boom", { n: this.n });
  }
  pid() {
    return process.pid;
  }
  reconstructed() {
    return tray.getRuntimeContext().wasCurrentActorReconstructed;
  }
}
const CounterActor = tray.remote(Counter, { numCpus: 0 });

check("calls of one caller run in order, async ones too", async () => {
  const counter = CounterActor.remote(10);
  const refs = Array.from({ length: 100 }, (_, i) => (i % 7 === 0 ? counter.slow.remote() : counter.inc.remote()));
  const values = await tray.get(refs);
  assert.deepEqual(
    values,
    values.map((_, i) => 11 + i),
  );
});

check("an exception fails its call and nothing else", async () => {
  const counter = CounterActor.remote(3);
  const error = await rejection(tray.get(counter.fail.remote()));
  assert.ok(error instanceof tray.TaskError);
  assert.ok(error.cause instanceof Boom);
  assert.deepEqual(error.cause.detail, { n: 3 });
  assert.equal(await tray.get(counter.inc.remote()), 4);
});

check("an actor whose process exits is dead, with the reason", async () => {
  const counter = CounterActor.remote();
  await tray.get(counter.inc.remote());
  const error = await rejection(tray.get(counter.die.remote()));
  assert.ok(error instanceof tray.ActorDiedError, error.stack);
  assert.match(error.message, /code 7/);
  assert.ok((await rejection(tray.get(counter.inc.remote()))) instanceof tray.ActorDiedError);
});

check("maxRestarts: made again by its constructor, and it knows", async () => {
  const counter = CounterActor.options({ maxRestarts: 1 }).remote(5);
  const before = await tray.get(counter.pid.remote());
  await tray.get(counter.inc.remote());
  const error = await rejection(tray.get(counter.die.remote()));
  assert.ok(error instanceof tray.ActorUnavailableError || error instanceof tray.ActorDiedError, error.stack);
  assert.equal(await tray.get(counter.inc.remote()), 6);
  assert.notEqual(await tray.get(counter.pid.remote()), before);
  assert.equal(await tray.get(counter.reconstructed.remote()), true);
  await rejection(tray.get(counter.die.remote()));
  assert.ok((await rejection(tray.get(counter.inc.remote()))) instanceof tray.ActorDiedError);
});

check("maxTaskRetries: the call that was running is made again", async () => {
  class Fragile {
    work() {
      if (!tray.getRuntimeContext().wasCurrentActorReconstructed) process.kill(process.pid, "SIGKILL");
      return "second life";
    }
  }
  const fragile = tray.remote(Fragile, { maxRestarts: 1, maxTaskRetries: 1, numCpus: 0 }).remote();
  assert.equal(await tray.get(fragile.work.remote()), "second life");
});

check("a constructor that throws: ready and every call say so", async () => {
  class Bad {
    constructor() {
      throw new Boom("no luck", 1);
    }
    work() {}
  }
  const bad = tray.remote(Bad).remote();
  const error = await rejection(tray.ready(bad));
  assert.ok(error instanceof tray.ActorDiedError);
  assert.match(error.message, /no luck/);
  assert.ok((await rejection(tray.get(bad.work.remote()))) instanceof tray.ActorDiedError);
});

check("named actors: found, taken, shared, listed, gone", async () => {
  const counter = CounterActor.options({ name: "ctr" }).remote(100);
  await tray.ready(counter);
  const found = await tray.getActor("ctr");
  assert.equal(await tray.get(found.inc.remote()), 101);
  assert.ok((await rejection(tray.ready(CounterActor.options({ name: "ctr" }).remote()))) instanceof tray.NameTakenError);
  const shared = CounterActor.options({ name: "ctr", getIfExists: true }).remote(0);
  assert.equal(await tray.get(shared.inc.remote()), 102);
  assert.deepEqual(await tray.listNamedActors(), [{ name: "ctr", namespace: "api-actors" }]);
  assert.ok((await rejection(tray.getActor("ctr", "elsewhere"))) instanceof tray.ActorNotFoundError);
  await tray.kill(counter);
  assert.ok((await rejection(tray.getActor("ctr"))) instanceof tray.ActorNotFoundError);
});

check("a refusal that is there before anybody asks is told when somebody does", async () => {
  const first = CounterActor.options({ name: "refused" }).remote();
  await tray.ready(first);
  const second = CounterActor.options({ name: "refused" }).remote();
  await rejection(tray.get(second.inc.remote()));
  assert.ok((await rejection(tray.ready(second))) instanceof tray.NameTakenError);
  await tray.kill(first);
});

check("kill ends an actor, and with noRestart: false it comes back", async () => {
  const counter = CounterActor.options({ maxRestarts: -1 }).remote(1);
  const before = await tray.get(counter.pid.remote());
  await tray.kill(counter, { noRestart: false });
  let after;
  while (after === undefined)
    after = await tray.get(counter.pid.remote()).catch((error) => {
      if (!(error instanceof tray.ActorUnavailableError)) throw error;
      return undefined; // on its way back
    });
  assert.notEqual(after, before);
  await tray.kill(counter);
  assert.ok((await rejection(tray.get(counter.pid.remote()))) instanceof tray.ActorDiedError);
});

check("exitActor: its call ends with undefined, then the actor is gone and not restarted", async () => {
  const counter = CounterActor.options({ maxRestarts: 3 }).remote();
  assert.equal(await tray.get(counter.leave.remote()), undefined);
  assert.ok((await rejection(tray.get(counter.inc.remote()))) instanceof tray.ActorDiedError);
});

check("maxConcurrency: so many async calls at once and no more", async () => {
  class Gate {
    running = 0;
    most = 0;
    async pass() {
      this.most = Math.max(this.most, ++this.running);
      await new Promise((resolve) => setTimeout(resolve, 40));
      this.running--;
      return this.most;
    }
  }
  const run = async (maxConcurrency) => {
    const gate = tray.remote(Gate, { numCpus: 0, ...(maxConcurrency === undefined ? {} : { maxConcurrency }) }).remote();
    return Math.max(...(await tray.get(Array.from({ length: 8 }, () => gate.pass.remote()))));
  };
  assert.deepEqual(await Promise.all([run(4), run(undefined)]), [4, 1]);
});

check("handles travel as arguments, in values, in captured variables", async () => {
  const counter = CounterActor.remote();
  const bump = tray.remote(async (handle, nested) => {
    await tray.get(handle.inc.remote(5));
    return tray.get(nested.of.counter.inc.remote(5));
  });
  assert.equal(await tray.get(bump.remote(counter, { of: { counter } })), 10);
  const captured = tray.remote(async () => tray.get(counter.inc.remote(1)));
  assert.equal(await tray.get(captured.remote()), 11);
});

check("actors make actors", async () => {
  class Branch {
    constructor(depth) {
      this.kids = depth > 0 ? [BranchActor.remote(depth - 1), BranchActor.remote(depth - 1)] : [];
    }
    async count() {
      return (await tray.get(this.kids.map((kid) => kid.count.remote()))).reduce((a, b) => a + b, 1);
    }
  }
  const BranchActor = tray.remote(Branch, { numCpus: 0 });
  assert.equal(await tray.get(BranchActor.remote(1).count.remote()), 3);
});

check("maxPendingCalls: the call too many throws at once", async () => {
  const counter = CounterActor.options({ maxPendingCalls: 2 }).remote();
  const refs = [counter.slow.remote(), counter.slow.remote()];
  assert.throws(
    () => counter.slow.remote(),
    (e) => e instanceof tray.PendingCallsLimitExceededError,
  );
  await tray.get(refs);
  assert.equal(await tray.get(counter.slow.remote()), 3);
});

check("an actor ends when its last handle is dropped, after the calls that wait", async () => {
  let counter = CounterActor.remote();
  const pid = await tray.get(counter.pid.remote());
  const last = counter.slow.remote();
  counter = undefined;
  assert.equal(await tray.get(last), 1);
  const deadline = performance.now() + 10_000;
  const alive = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  while (alive() && performance.now() < deadline) {
    globalThis.gc();
    await delay(20);
  }
  assert.equal(alive(), false);
});

await runChecks();
await tray.shutdown();
