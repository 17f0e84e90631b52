import { deferred } from "./deferred.js";
import { Scope } from "./scope.js";
import { SimClock } from "./sim-clock.js";

function setup(closerTimeoutMs?: number) {
  const clock = new SimClock();
  const errors: [what: string, message: string][] = [];
  const onError = (what: string, error: unknown): void => void errors.push([what, (error as Error).message]);
  const options = closerTimeoutMs === undefined ? { clock, onError } : { clock, onError, closerTimeoutMs };
  return { clock, errors, scope: new Scope("s", options) };
}

describe("Scope", () => {
  it("S1: closes once, whoever asks", async () => {
    const { clock, scope } = setup();
    const order: string[] = [];
    scope.defer("a", () => void order.push("a"));
    const [first, second] = [scope.close(), scope.close()];
    expect(first).toBe(second);
    expect(scope.closed).toBe(true);
    await clock.complete(first);
    expect(order).toEqual(["a"]);
  });

  it("S2: runs closers last in, first out, each after the one before has ended", async () => {
    const { clock, scope } = setup();
    const order: string[] = [];
    const gate = deferred<void>();
    scope.defer("first", () => void order.push("first"));
    scope.defer("second", async () => {
      order.push("second begins");
      await gate.promise;
      order.push("second ends");
    });
    scope.defer("third", () => void order.push("third"));
    const closed = scope.close();
    await clock.settle();
    expect(order).toEqual(["third", "second begins"]);
    gate.resolve();
    await clock.complete(closed);
    expect(order).toEqual(["third", "second begins", "second ends", "first"]);
  });

  it("S2: goes on past closers that throw, reject or hang, and names them", async () => {
    const { clock, errors, scope } = setup(100);
    const order: string[] = [];
    scope.defer("last", () => void order.push("last"));
    scope.defer("throws", () => {
      throw new Error("no");
    });
    scope.defer("rejects", () => Promise.reject(new Error("neither")));
    scope.defer("hangs", () => new Promise(() => undefined));
    await clock.complete(scope.close());
    expect(order).toEqual(["last"]);
    expect(errors).toEqual([
      ["s/hangs", "hangs did not end within 100 ms"],
      ["s/rejects", "neither"],
      ["s/throws", "no"],
    ]);
    expect(clock.now()).toBe(100);
  });

  it("S3: reports a task that fails, forgets one that ended, and says nothing of one that ends by the abort", async () => {
    const { clock, errors, scope } = setup();
    scope.run("fails", () => Promise.reject(new Error("broken")));
    scope.run("ends", () => Promise.resolve());
    scope.run("aborted", (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))));
    await clock.settle();
    expect(errors).toEqual([["s/fails", "broken"]]);
    await clock.complete(scope.close());
    expect(errors).toHaveLength(1);
  });

  it("aborts before the first closer runs, and awaits tasks after the last", async () => {
    const { clock, scope } = setup();
    const order: string[] = [];
    const gate = deferred<void>();
    scope.run("task", async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      order.push("task saw the abort");
      await gate.promise;
      order.push("task ends");
    });
    scope.defer("closer", () => {
      order.push(`closer, aborted ${scope.signal.aborted}`);
      gate.resolve();
    });
    await clock.complete(scope.close().then(() => order.push("closed")));
    expect(order.slice(-1)).toEqual(["closed"]);
    expect(new Set(order)).toEqual(new Set(["task saw the abort", "closer, aborted true", "task ends", "closed"]));
  });

  it("does not wait for ever for a task that ignores the abort", async () => {
    const { clock, scope } = setup(50);
    scope.run("deaf", () => new Promise(() => undefined));
    await expect(clock.complete(scope.close())).rejects.toThrow("tasks did not end within 50 ms");
  });

  it("takes closers back, and runs those that come too late at once", async () => {
    const { clock, errors, scope } = setup();
    const order: string[] = [];
    scope.defer("taken back", () => void order.push("taken back"))();
    await clock.complete(scope.close());
    scope.defer("late", () => void order.push("late"));
    scope.defer("late failure", () => Promise.reject(new Error("late")));
    await clock.settle();
    expect(order).toEqual(["late"]);
    expect(errors).toEqual([["s/late failure", "late"]]);
  });

  it("closes children in their place among the closers; a child that closed before is forgotten", async () => {
    const { clock, scope } = setup();
    const order: string[] = [];
    scope.defer("before", () => void order.push("before"));
    const child = scope.child("c");
    child.defer("of the child", () => void order.push("of the child"));
    const early = scope.child("early");
    early.defer("early", () => void order.push("early"));
    scope.defer("after", () => void order.push("after"));
    expect(child.name).toBe("s/c");
    await clock.complete(early.close());
    await clock.complete(scope.close());
    expect(order).toEqual(["early", "after", "of the child", "before"]);
    expect(child.closed).toBe(true);
  });

  it("closes a child of a closed scope at once", async () => {
    const { clock, scope } = setup();
    await clock.complete(scope.close());
    expect(scope.child("late").closed).toBe(true);
  });
});
