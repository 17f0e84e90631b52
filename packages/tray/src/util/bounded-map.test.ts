import fc from "fast-check";
import { type Deferred, deferred } from "@tray/common";
import { boundedMap, type BoundedMapOptions, type Started } from "./bounded-map.js";

/** Work whose end the test decides. */
class Work {
  readonly open = new Map<number, Deferred<number>>();
  readonly abandoned: number[] = [];
  started = 0;
  most = 0;
  readonly start = (item: number): Started<number> => {
    this.started++;
    const result = deferred<number>();
    this.open.set(item, result);
    this.most = Math.max(this.most, this.open.size);
    return { result: result.promise, abandon: () => this.abandoned.push(item) };
  };
  end(item: number): void {
    this.open.get(item)?.resolve(item * 10);
    this.open.delete(item);
  }
}

const options = (more: Partial<BoundedMapOptions> = {}): BoundedMapOptions => ({ limit: 3, ordered: true, signal: undefined, ...more });
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function* count(to: number, onReturn?: () => void): Generator<number> {
  try {
    for (let n = 0; n < to; n++) yield n;
  } finally {
    onReturn?.();
  }
}

it("every item once, in order or as they come, never more than the limit ahead of the consumer (B1)", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(30),
      fc.integer({ min: 1, max: 6 }),
      fc.boolean(),
      fc.boolean(),
      fc.infiniteStream(fc.nat()),
      async (length, limit, ordered, asynchronous, choices) => {
        const work = new Work();
        const given: number[] = [];
        const input = asynchronous
          ? (async function* () {
              yield* count(length);
            })()
          : count(length);
        const results = boundedMap(input, work.start, options({ limit, ordered }));
        let over = false;
        const consumer = (async () => {
          for await (const result of results) {
            given.push(result);
            // The one that the consumer has in its hands has left the window.
            expect(work.started - given.length).toBeLessThanOrEqual(limit);
          }
          over = true;
        })();
        while (!over) {
          await settled();
          const open = [...work.open.keys()];
          if (open.length > 0) work.end(open[(choices.next().value as number) % open.length] as number);
        }
        await consumer;
        const expected = Array.from({ length }, (_, n) => n * 10);
        expect(ordered ? given : given.sort((a, b) => a - b)).toEqual(expected);
        expect(work.most).toBeLessThanOrEqual(limit);
        expect(work.abandoned).toEqual([]);
      },
    ),
    { numRuns: 60 },
  );
});

it("a consumer that stops ends the input and abandons what runs (B2)", async () => {
  const work = new Work();
  let closed = false;
  const results = boundedMap(
    count(100, () => (closed = true)),
    work.start,
    options(),
  );
  const first = results.next();
  await settled();
  work.end(0);
  expect((await first).value).toBe(0);
  await results.return();
  expect([closed, work.abandoned, work.started]).toEqual([true, [1, 2, 3], 4]);
});

it("a failure is thrown in its place; what was not begun never is, what runs is abandoned (B2)", async () => {
  const work = new Work();
  const results = boundedMap(count(100), work.start, options());
  const first = results.next();
  await settled();
  work.open.get(1)?.reject(new Error("one"));
  work.end(0);
  expect((await first).value).toBe(0);
  await expect(results.next()).rejects.toThrow("one");
  expect(work.abandoned).toEqual([2, 3]);
  expect((await results.next()).done).toBe(true);
});

it("an item that cannot be begun fails in its place", async () => {
  const results = boundedMap(
    ["a", "b"],
    (item) => {
      if (item === "b") throw new TypeError("no b");
      return { result: Promise.resolve(item), abandon: () => undefined };
    },
    options(),
  );
  expect((await results.next()).value).toBe("a");
  await expect(results.next()).rejects.toThrow("no b");
});

it("what the input threw comes after the results before it (B3)", async () => {
  const broken = (function* () {
    yield 1;
    yield 2;
    throw new Error("input");
  })();
  const work = new Work();
  const results = boundedMap(broken, work.start, options());
  const first = results.next();
  await settled();
  work.end(1);
  work.end(2);
  expect([(await first).value, (await results.next()).value]).toEqual([10, 20]);
  await expect(results.next()).rejects.toThrow("input");
});

it("a signal abandons at once, though the consumer is busy elsewhere; an input that does not answer keeps nobody", async () => {
  const aborter = new AbortController();
  const work = new Work();
  const silent = (async function* () {
    yield 0;
    yield 1;
    await new Promise(() => undefined);
  })();
  const results = boundedMap(silent, work.start, options({ signal: aborter.signal }));
  const first = results.next();
  await settled();
  work.end(0);
  await first;
  await settled();
  aborter.abort(new Error("enough"));
  expect(work.abandoned).toEqual([1]);
  await expect(results.next()).rejects.toThrow("enough");
  const late = boundedMap([1], work.start, options({ signal: aborter.signal }));
  await expect(late.next()).rejects.toThrow("enough");
  expect(work.started).toBe(2);
});
