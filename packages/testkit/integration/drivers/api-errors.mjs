import assert from "node:assert/strict";
import net from "node:net";
import * as tray from "tray";
import { check, rejection, runChecks } from "./checks.mjs";

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
  assert.match(error.message, /lost one/);
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
    (e) => e instanceof tray.SerializationError && /deep/.test(e.message),
  );
  const bad = tray.remote(() => ({ secret: new WeakSet() }));
  const error = await rejection(tray.get(bad.remote()));
  assert.match(error.message, /secret/);
});

check("options that do not exist or make no sense are named", async () => {
  assert.throws(() => tray.remote(() => 1, { numCpu: 1 }), /numCpu/);
  assert.throws(() => tray.remote(() => 1, { numCpus: -1 }), /numCpus/);
  assert.throws(() => tray.remote(class {}, { maxRestart: 1 }), /maxRestart/);
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
