import assert from "node:assert/strict";
import net from "node:net";
import * as tray from "tray";
import { check, delay, rejection, runChecks } from "./checks.mjs";

await tray.init();

class PaymentError extends Error {
  constructor(message, amount, options) {
    super(message, options);
    this.name = "PaymentError";
    this.amount = amount;
  }
}

check("a thrown error arrives with its class, fields, cause and stack", async () => {
  const pay = tray.remote(function pay(amount) {
    throw new PaymentError("card declined", amount, { cause: new RangeError("limit") });
  });
  const error = await rejection(tray.get(pay.remote(42)));
  assert.ok(error instanceof tray.TaskError);
  assert.ok(tray.isTrayError(error, "TASK_ERROR"));
  assert.match(error.message, /card declined/);
  assert.ok(error.cause instanceof PaymentError);
  assert.equal(error.cause.amount, 42);
  assert.equal(error.cause.name, "PaymentError");
  assert.ok(error.cause.cause instanceof RangeError);
  assert.match(error.cause.stack, /api-errors\.mjs:\d+/);
});

check("what is no Error can be thrown too", async () => {
  const bad = tray.remote(() => {
    throw { plain: "object" };
  });
  const error = await rejection(tray.get(bad.remote()));
  assert.ok(error instanceof tray.TaskError);
  assert.deepEqual(error.cause, { plain: "object" });
});

check("what is thrown is told in words, whatever it is", async () => {
  const thrower = tray.remote(function thrower(kind) {
    if (kind === "text") throw "text";
    if (kind === "object") throw { code: 1 };
    throw undefined;
  });
  const told = async (kind) => (await rejection(tray.get(thrower.remote(kind)))).message;
  assert.equal(await told("text"), "thrower threw 'text' (not an Error)");
  assert.equal(await told("object"), "thrower threw { code: 1 } (not an Error)");
  assert.equal(await told("nothing"), "thrower threw undefined (not an Error)");
});

check("an AggregateError keeps its errors, with their classes", async () => {
  const several = tray.remote(() => {
    throw new AggregateError([new PaymentError("one", 1), new RangeError("two")], "several");
  });
  const { cause } = await rejection(tray.get(several.remote()));
  assert.ok(cause instanceof AggregateError);
  assert.equal(cause.message, "several");
  assert.ok(cause.errors[0] instanceof PaymentError && cause.errors[0].amount === 1);
  assert.ok(cause.errors[1] instanceof RangeError);
});

check("stacks name the caller and the user's code in the worker, nothing of tray's", async () => {
  const broken = tray.remote(function broken() {
    throw new Error("deep down");
  });
  const asks = async () => {
    await tray.get(broken.remote());
  };
  const error = await rejection(asks());
  assert.match(error.stack, /^TaskError: broken threw Error: deep down\n {4}at async asks \(.*api-errors\.mjs:\d+/);
  assert.match(error.cause.stack, /^Error: deep down\n {4}at broken \(.*api-errors\.mjs:\d+:\d+\)$/);
});

check("errors of actors: the constructor's, an async method's", async () => {
  class Shop {
    constructor(open) {
      if (!open) throw new PaymentError("closed", 3);
    }
    async sell() {
      await delay(1);
      throw new PaymentError("sold out", 4);
    }
  }
  const Shops = tray.remote(Shop);
  const closed = await rejection(tray.ready(Shops.remote(false)));
  assert.ok(closed instanceof tray.ActorDiedError && closed.cause instanceof PaymentError);
  assert.match(closed.message, /its constructor threw: PaymentError: closed$/);
  assert.match(closed.cause.stack, /at new Shop \(.*api-errors\.mjs/);
  const soldOut = await rejection(tray.get(Shops.remote(true).sell.remote()));
  assert.equal(soldOut.message, "Shop.sell threw PaymentError: sold out");
  assert.ok(soldOut.cause instanceof PaymentError && soldOut.cause.amount === 4);
});

check("a failed dependency fails the task without running it, the cause kept", async () => {
  const bad = tray.remote(() => {
    throw new PaymentError("root", 1);
  });
  const next = tray.remote((x) => x);
  const error = await rejection(tray.get(next.remote(next.remote(bad.remote()))));
  assert.ok(error instanceof tray.TaskError);
  assert.ok(error.cause instanceof PaymentError, error.stack);
});

check("an error that is caught in a task is of the worker's own class there", async () => {
  const bad = tray.remote(() => {
    throw new PaymentError("inner", 7);
  });
  const wrap = tray.remote(async () => {
    try {
      await tray.get(bad.remote());
    } catch (error) {
      return [error instanceof tray.TaskError, error.cause instanceof PaymentError, error.cause.amount];
    }
    return "nothing was thrown";
  });
  assert.deepEqual(await tray.get(wrap.remote()), [true, true, 7]);
});

check("process.exit in a task: exit code and last words of the worker", async () => {
  const leave = tray.remote(
    () => {
      console.error("my dying words");
      process.exit(3);
    },
    { maxRetries: 1 },
  );
  const error = await rejection(tray.get(leave.remote()));
  assert.ok(error instanceof tray.WorkerCrashedError, error.stack);
  assert.match(error.message, /code 3/);
  assert.match(error.message, /my dying words/);
  assert.match(error.message, /process\.exit\(3\) in anonymous at .*api-errors\.mjs:\d+/);
});

check("a worker that is killed: the signal is named", async () => {
  const suicide = tray.remote(() => process.kill(process.pid, "SIGKILL"), { maxRetries: 0 });
  const error = await rejection(tray.get(suicide.remote()));
  assert.ok(error instanceof tray.WorkerCrashedError, error.stack);
  assert.match(error.message, /SIGKILL/);
});

check("a crash is retried, and the next attempt may succeed", async () => {
  const once = tray.remote(() => (tray.getRuntimeContext().attemptNumber === 0 ? process.exit(1) : "second attempt"));
  assert.equal(await tray.get(once.remote()), "second attempt");
});

check("an unhandled rejection fails the task that is running", async () => {
  const careless = tray.remote(async () => {
    void Promise.reject(new Error("lost one"));
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    return 1;
  });
  const error = await rejection(tray.get(careless.remote()));
  assert.ok(error instanceof tray.TaskError, error.stack);
  assert.equal(error.message, "unhandled rejection in anonymous (a promise that nobody awaited): Error: lost one");
});

check("an exception in a timer fails the task that is running", async () => {
  const careless = tray.remote(async () => {
    setTimeout(() => {
      throw new Error("from a timer");
    }, 1);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  });
  assert.match((await rejection(tray.get(careless.remote()))).message, /from a timer/);
});

check("a captured socket is refused at once, with the way to it", async () => {
  const connection = { pool: { socket: new net.Socket() } };
  let error;
  try {
    tray.remote(() => connection.pool.socket.address()).remote();
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error instanceof tray.SerializationError, String(error?.stack));
  assert.match(error.message, /connection/);
  assert.match(error.message, /pool\.socket|pool.*socket/);
});

check("an argument that cannot be shipped is refused at once, a result by get", async () => {
  const echo = tray.remote((x) => x);
  assert.throws(
    () => echo.remote({ deep: [new WeakMap()] }),
    (e) => e instanceof tray.SerializationError && e.message === "argument 1 of an anonymous function cannot be shipped: .deep[0] → a WeakMap",
  );
  const named = tray.remote(function named() {});
  assert.throws(() => named.remote(1, new WeakMap()), /^SerializationError: argument 2 of named cannot be shipped: a WeakMap$/);
  class Shelf {
    put() {}
  }
  assert.throws(() => tray.remote(Shelf).remote(new WeakMap()), /argument 1 of new Shelf cannot be shipped/);
  assert.throws(() => tray.remote(Shelf).remote().put.remote({ a: new WeakMap() }), /argument 1 of Shelf\.put cannot be shipped: \.a → a WeakMap/);
  assert.match((await rejection(tray.put([new WeakMap()]))).message, /^the value given to put cannot be shipped: \[0\] → a WeakMap/);
  const bad = tray.remote(() => ({ secret: new WeakSet() }));
  const error = await rejection(tray.get(bad.remote()));
  assert.match(error.message, /^SerializationError: the result of \w+ cannot be shipped: \.secret → a WeakSet$/);
});

check("options that do not exist or make no sense are named", async () => {
  assert.throws(() => tray.remote(() => 1, { numCpu: 1 }), /numCpu: .*did you mean numCpus\?/);
  assert.throws(() => tray.remote(() => 1, { numCpus: -1 }), /numCpus/);
  assert.throws(() => tray.remote(class {}, { maxRestart: 1 }), /did you mean maxRestarts\?/);
  assert.throws(() => tray.remote(42), /function or a class/);
});

check("what is no reference is refused with a hint", async () => {
  assert.match((await rejection(tray.get(Promise.resolve(1)))).message, /await/);
  assert.match((await rejection(tray.get([1]))).message, /ObjectRef/);
  const ref = await tray.put(1);
  assert.match((await rejection(tray.wait([ref, ref]))).message, /twice/);
});

check("a task that fits no node waits, and can be cancelled", async () => {
  const big = tray.remote(() => 1, { numCpus: 640 });
  const ref = big.remote();
  assert.ok((await rejection(tray.get(ref, { timeout: 300 }))) instanceof tray.GetTimeoutError);
  await tray.cancel(ref);
  assert.ok((await rejection(tray.get(ref))) instanceof tray.TaskCancelledError);
});

check("after all of that the cluster works", async () => {
  const add = tray.remote((a, b) => a + b);
  assert.deepEqual(
    await tray.get(Array.from({ length: 20 }, (_, i) => add.remote(i, 1))),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

await runChecks();
await tray.shutdown();
assert.throws(() => tray.remote(() => 1).remote(), /shutdown/);
