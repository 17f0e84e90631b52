import fc from "fast-check";
import { Streaming, type StreamingHost } from "./streaming.js";

/** Notes what is handed on; storing takes until the next turn for every third item. */
class Consumer implements StreamingHost {
  readonly got: [index: number, value: unknown][] = [];
  rests = 0;
  turns = 0;
  private time = 0;
  constructor(private readonly onItem: (index: number) => void = () => undefined) {}
  yielded(index: number, value: unknown): Promise<void> | undefined {
    this.got.push([index, value]);
    this.onItem(index);
    return index % 3 === 0 ? Promise.resolve() : undefined;
  }
  resting(): void {
    this.rests++;
  }
  now(): number {
    return (this.time += 1);
  }
  turn(): Promise<void> {
    this.turns++;
    return new Promise((resolve) => setImmediate(resolve));
  }
}
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function* numbers(n: number, log: string[] = []): Generator<number> {
  try {
    for (let i = 1; i <= n; i++) yield i;
  } finally {
    log.push("finally");
  }
}
async function* later(n: number, log: string[] = []): AsyncGenerator<number> {
  try {
    for (let i = 1; i <= n; i++) {
      await settle();
      yield i;
    }
  } finally {
    await settle();
    log.push("finally");
  }
}
const range = (n: number): [number, number][] => Array.from({ length: n }, (_, i) => [i + 1, i + 1]);

describe("Streaming", () => {
  it.each([
    ["a generator", () => numbers(7)],
    ["an async generator", () => later(7)],
    ["an iterator", () => [1, 2, 3, 4, 5, 6, 7].values()],
    ["a generator of promises", () => [1, 2, 3, 4, 5, 6, 7].map((x) => Promise.resolve(x)).values()],
  ])("Y1: hands on what %s yields, in order", async (_what, make) => {
    const consumer = new Consumer();
    const streaming = new Streaming("f", make(), 0, consumer);
    await streaming.run();
    expect(consumer.got).toEqual(range(7));
    expect(streaming.count).toBe(7);
  });

  it.each([
    ["an array", [1]],
    ["null", null],
    ["a string", "items"],
    ["undefined", undefined],
    ["an object", {}],
  ])("refuses %s", (_what, result) => {
    expect(() => new Streaming("f", result, 0, new Consumer())).toThrow(/f must return a generator .* it returned/);
  });

  it("Y2: never more than the limit beyond what is consumed, whatever the pace", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 0, max: 20 }),
        fc.array(fc.integer({ min: 1, max: 4 })),
        async (limit, n, paces) => {
          let consumed = 0;
          const consumer = new Consumer((index) => expect(index - consumed).toBeLessThanOrEqual(limit));
          const streaming = new Streaming("f", n % 2 === 0 ? numbers(n) : later(n), limit, consumer);
          let over = false;
          const run = streaming.run().then(() => (over = true));
          for (let turn = 0; !over; turn++) {
            await settle();
            consumed = Math.min(consumer.got.length, consumed + (paces[turn % Math.max(1, paces.length)] ?? 1));
            streaming.consumed(consumed);
          }
          await run;
          expect(consumer.got).toEqual(range(n));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("passes over what was delivered, makes again what is wanted, and goes on", async () => {
    const consumer = new Consumer();
    const streaming = new Streaming("f", numbers(8), 0, consumer, { delivered: 5, consumed: 2, wanted: [2, 4], until: 0 });
    await streaming.run();
    expect(consumer.got.map(([i]) => i)).toEqual([2, 4, 6, 7, 8]);
    expect(streaming.count).toBe(8);
  });

  it("ends after the last item that is wanted, when nobody wants more", async () => {
    const log: string[] = [];
    const consumer = new Consumer();
    await new Streaming("f", numbers(8, log), 0, consumer, { delivered: 8, consumed: 8, wanted: [3], until: 3 }).run();
    expect(consumer.got).toEqual([[3, 3]]);
    expect(log).toEqual(["finally"]);
  });

  it("says that it rests when an earlier attempt had filled its consumer", async () => {
    const consumer = new Consumer();
    const streaming = new Streaming("f", numbers(4), 2, consumer, { delivered: 3, consumed: 1, wanted: [], until: 0 });
    const run = streaming.run();
    for (let i = 0; i < 5; i++) await settle();
    expect([consumer.got, consumer.rests]).toEqual([[], 1]);
    streaming.consumed(2);
    while (consumer.got.length === 0) await settle();
    streaming.consumed(4);
    await run;
    expect([consumer.got, consumer.rests]).toEqual([[[4, 4]], 1]);
  });

  it.each([
    ["a generator", numbers],
    ["an async generator", later],
  ])("Y3: %s that is stopped while it pauses gets to its finally block", async (_what, make) => {
    const log: string[] = [];
    const consumer = new Consumer();
    const streaming = new Streaming("f", make(100, log), 2, consumer);
    const run = streaming.run();
    while (consumer.got.length < 2) await settle();
    streaming.stop();
    await run;
    expect(log).toEqual(["finally"]);
    expect(consumer.got).toEqual(range(2));
    expect(streaming.stopped).toBe(true);
  });

  it("Y3: stopped in the middle of a step, the step's item is dropped and the generator returns", async () => {
    const log: string[] = [];
    let go: () => void = () => undefined;
    async function* stuck(): AsyncGenerator<number> {
      try {
        yield 1;
        await new Promise<void>((resolve) => (go = resolve));
        yield 2;
      } finally {
        log.push("finally");
      }
    }
    const consumer = new Consumer();
    const streaming = new Streaming("f", stuck(), 0, consumer);
    const run = streaming.run();
    while (consumer.got.length < 1) await settle();
    await settle();
    streaming.stop();
    expect(log).toEqual([]);
    go();
    await run;
    expect([log, consumer.got]).toEqual([["finally"], [[1, 1]]]);
  });

  it("Y3: an item that cannot be handed on ends the generator with that error", async () => {
    const log: string[] = [];
    const consumer = new Consumer((index) => {
      if (index === 2) throw new Error("cannot travel");
    });
    await expect(new Streaming("f", numbers(5, log), 0, consumer).run()).rejects.toThrow("cannot travel");
    expect(log).toEqual(["finally"]);
  });

  it("what the generator throws comes out, after the items before it", async () => {
    const consumer = new Consumer();
    function* failing(): Generator<number> {
      yield 1;
      throw new RangeError("enough");
    }
    await expect(new Streaming("f", failing(), 0, consumer).run()).rejects.toThrow(RangeError);
    expect(consumer.got).toEqual([[1, 1]]);
  });

  it("Y4: a generator that never waits gives the thread a turn", async () => {
    const consumer = new Consumer();
    await new Streaming("f", numbers(100), 0, consumer).run();
    expect(consumer.turns).toBeGreaterThan(5);
  });
});
