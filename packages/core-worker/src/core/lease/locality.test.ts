import { Deque } from "@tray/common";
import { ObjectEntry } from "../object-entry.js";
import { TaskEntry, type Template } from "../task-entry.js";
import { argBytesByNode, nextFor, take } from "./locality.js";

const template = { options: { numReturns: 1, maxRetries: 0 } } as unknown as Template;
let made = 0;

function stored(size: number, ...nodeIds: string[]): ObjectEntry {
  const entry = new ObjectEntry(0, undefined, undefined, 0, `o${made++}`);
  entry.state = { kind: "stored", size, nodes: nodeIds.map((nodeId) => ({ nodeId, raylet: "", bulk: "" })) };
  return entry;
}
const task = (...refs: ObjectEntry[]): TaskEntry => new TaskEntry(template, made++, new Uint8Array(0), refs, [], 0);

function queueOf(...tasks: TaskEntry[]): Deque<TaskEntry> {
  const queue = new Deque<TaskEntry>();
  for (const each of tasks) queue.push(each);
  return queue;
}

describe("locality", () => {
  it("sums the stored arguments of the next tasks by node, per task; every copy counts where it lies", () => {
    const inlined = new ObjectEntry(0, undefined, undefined, 0, "inlined");
    inlined.state = { kind: "value", value: new Uint8Array(5000) };
    expect(argBytesByNode(queueOf(task(stored(4000, "a", "b"), inlined), task(stored(2000, "b"))))).toEqual({ a: 2000, b: 3000 });
    expect(argBytesByNode(queueOf(task(), task(inlined)))).toEqual({});
  });

  it("looks at the next tasks only, however long the queue is", () => {
    const queue = queueOf(...Array.from({ length: 16 }, () => task(stored(100, "a"))), task(stored(1e9, "far")));
    expect(argBytesByNode(queue)).toEqual({ a: 100 });
  });

  it("gives a node the task whose arguments it has; the first, when none has much there", () => {
    const first = task(stored(5e6, "a"));
    const second = task(stored(5e6, "b"));
    const small = task(stored(1000, "c"));
    const queue = queueOf(first, second, small);
    expect(nextFor(queue, "a")).toBe(first);
    expect(nextFor(queue, "b")).toBe(second);
    expect(nextFor(queue, "c")).toBe(first);
    take(queue, second);
    expect([...queue]).toEqual([first, small]);
  });

  it("never overtakes the first for ever", () => {
    const first = task(stored(5e6, "a"));
    const queue = queueOf(first);
    let taken = 0;
    for (let next: TaskEntry | undefined; next !== first; taken++) {
      queue.push(task(stored(5e6, "b")));
      next = nextFor(queue, "b");
      take(queue, next as TaskEntry);
    }
    expect(taken).toBeLessThan(50);
  });
});
