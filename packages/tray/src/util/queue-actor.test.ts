import fc from "fast-check";
import { type Boxed, QueueActor } from "./queue-actor.js";

/** What a call has been answered so far. */
function watch<T>(answer: T | Promise<T>): { value: T | undefined } {
  const seen: { value: T | undefined } = { value: undefined };
  if (answer instanceof Promise) void answer.then((value: T) => (seen.value = value));
  else seen.value = answer;
  return seen;
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

type Step = { do: "put" | "get" | "putNow" | "getNow"; n: number } | { do: "abandon"; n: number };

const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constantFrom("put" as const, "get" as const), n: fc.constant(0) }),
    fc.record({ do: fc.constantFrom("putNow" as const, "getNow" as const), n: fc.nat(3) }),
    fc.record({ do: fc.constant("abandon" as const), n: fc.nat(30) }),
  ),
  { maxLength: 60 },
);

it("Q1 and Q2: whatever is called, items come out once and in order, bounds hold, and nobody waits for what is there", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(4), async (list: Step[], maxSize) => {
      const queue = new QueueActor(maxSize, 1000);
      const accepted: number[] = [];
      const puts: { item: number; seen: { value: unknown } }[] = [];
      const taken: { seen: { value: unknown } }[] = [];
      const out: number[] = [];
      let next = 0;
      for (const [i, step] of list.entries()) {
        const ticket = `t${i}`;
        if (step.do === "put") puts.push({ item: next, seen: watch(queue.put(ticket, [next++])) });
        else if (step.do === "get") taken.push({ seen: watch(queue.get(ticket)) });
        else if (step.do === "abandon") queue.abandon(`t${step.n}`);
        else if (step.do === "putNow") {
          const batch = Array.from({ length: step.n }, (): Boxed => [next++]);
          if (queue.putNow(batch) === true) for (const [item] of batch) puts.push({ item: item as number, seen: { value: true } });
        } else {
          const answer = queue.getNow(step.n);
          if (Array.isArray(answer)) taken.push(...(answer as Boxed[]).map((box) => ({ seen: { value: box } })));
        }
        if (maxSize > 0) expect(queue.size()).toBeLessThanOrEqual(maxSize);
        expect(queue.takers.size === 0 || queue.size() === 0).toBe(true);
        expect(queue.givers.size === 0 || queue.full()).toBe(true);
        await settled();
      }
      for (const { item, seen } of puts) if (seen.value === true) accepted.push(item);
      for (const { seen } of taken) if (Array.isArray(seen.value)) out.push(seen.value[0] as number);
      const rest = (queue.getNow(queue.size()) as readonly Boxed[]).map(([item]) => item as number);
      // Emptying lets those in who waited: not part of what was accepted before.
      expect([...out, ...rest]).toEqual(accepted);
    }),
    { numRuns: 300 },
  );
});

it("Q2: an abandoned call leaves no trace; one that was served stays served", async () => {
  const queue = new QueueActor(1, 10);
  const taker = watch(queue.get("t"));
  queue.abandon("t");
  await settled();
  expect(taker.value).toBe("abandoned");
  expect(queue.put("p", [1])).toBe(true);
  const giver = watch(queue.put("q", [2]));
  queue.abandon("q");
  queue.abandon("p");
  await settled();
  expect(giver.value).toBe("abandoned");
  expect(queue.getNow(1)).toEqual([[1]]);
  expect(queue.size()).toBe(0);
});

it("Q3: calls beyond the bound are turned away, and only those", () => {
  const queue = new QueueActor(1, 2);
  expect([queue.get("a"), queue.get("b")].every((answer) => answer instanceof Promise)).toBe(true);
  expect(queue.get("c")).toBe("crowded");
  expect([queue.put("d", [1]), queue.put("e", [2]), queue.put("f", [3])]).toEqual([true, true, true]);
  expect([queue.put("g", [4]), queue.put("h", [5])].every((answer) => answer instanceof Promise)).toBe(true);
  expect(queue.put("i", [6])).toBe("crowded");
});
