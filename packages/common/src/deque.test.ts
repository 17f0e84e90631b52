import fc from "fast-check";
import { BoundedQueue, Deque } from "./deque.js";

describe("Deque", () => {
  it("behaves as an array under any sequence of operations", () => {
    const op = fc.oneof(
      fc.record({ kind: fc.constant("push" as const), value: fc.integer() }),
      fc.record({ kind: fc.constant("unshift" as const), value: fc.integer() }),
      fc.record({ kind: fc.constantFrom("shift" as const, "pop" as const), value: fc.constant(0) }),
      fc.record({ kind: fc.constant("remove" as const), value: fc.integer({ min: -3, max: 3 }) }),
    );
    fc.assert(
      fc.property(fc.array(op, { maxLength: 200 }), (ops) => {
        const deque = new Deque<number>();
        const model: number[] = [];
        for (const { kind, value } of ops) {
          if (kind === "push") model.push((deque.push(value), value));
          else if (kind === "unshift") model.unshift((deque.unshift(value), value));
          else if (kind === "shift") expect(deque.shift()).toBe(model.shift());
          else if (kind === "pop") expect(deque.pop()).toBe(model.pop());
          else {
            const at = model.findIndex((x) => x === value);
            expect(deque.removeFirst((x) => x === value)).toBe(at < 0 ? undefined : model.splice(at, 1)[0]);
          }
          expect([...deque]).toEqual(model);
          expect(deque.length).toBe(model.length);
        }
      }),
    );
  });
});

describe("BoundedQueue", () => {
  it("answers false when full and keeps what it holds", () => {
    const queue = new BoundedQueue<number>(2);
    expect([queue.push(1), queue.push(2), queue.push(3)]).toEqual([true, true, false]);
    expect([queue.shift(), queue.shift(), queue.shift()]).toEqual([1, 2, undefined]);
  });
});
