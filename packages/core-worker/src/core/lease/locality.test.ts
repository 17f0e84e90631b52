import { Deque } from "@tray/common";
import { ObjectEntry } from "../object-entry.js";
import { TaskEntry, type Template } from "../task-entry.js";
import { argBytesByNode, Locality, take } from "./locality.js";

const template = { options: { numReturns: 1, maxRetries: 0 } } as unknown as Template;
let made = 0;

const locality = (): Locality => new Locality(true);

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
    const first = task(stored(2e6, "a"));
    const second = task(stored(2e6, "b"));
    const small = task(stored(1000, "c"));
    const queue = queueOf(first, second, small);
    expect(locality().nextFor(queue, "a", 0)).toBe(first);
    expect(locality().nextFor(queue, "b", 0)).toBe(second);
    expect(locality().nextFor(queue, "c", 0)).toBe(first);
    take(queue, second);
    expect([...queue]).toEqual([first, small]);
  });

  it("holds a task back while a worker where its arguments lie may come, for as long as bringing them would take", () => {
    const far = task(stored(100 << 20, "a"));
    const queue = queueOf(far);
    expect(locality().nextFor(queue, "b", 1000)).toBeUndefined();
    expect(locality().nextFor(queue, "b", 1399)).toBeUndefined();
    expect(locality().nextFor(queue, "a", 1399)).toBe(far);
    expect(locality().nextFor(queue, "b", 1400)).toBe(far);
    const small = task(stored(1 << 20, "a"));
    const both = task(stored(100 << 20, "a"), stored(99 << 20, "b"));
    for (const settled of [small, both]) expect(locality().nextFor(queueOf(settled), "b", 0)).toBe(settled);
    const huge = task(stored(2 ** 40, "a"));
    expect(locality().nextFor(queueOf(huge), "b", 0)).toBeUndefined();
    expect(locality().nextFor(queueOf(huge), "b", 500)).toBe(huge);
  });

  it("does not wait again for a node where it was waited for in vain, until some seconds later; nor when a class is bound to nodes", () => {
    const each = new Locality(true);
    const far = (): Deque<TaskEntry> => queueOf(task(stored(100 << 20, "a")));
    const waited = far();
    expect(each.nextFor(waited, "b", 0)).toBeUndefined();
    expect(each.nextFor(waited, "b", 400)).toBe(waited.peek());
    expect(each.nextFor(far(), "b", 500)).toBeDefined();
    expect(each.nextFor(far(), "b", 5_401)).toBeUndefined();
    expect(new Locality(false).nextFor(far(), "b", 0)).toBeDefined();
  });

  it("lets those who do not wait pass those who do", () => {
    const far = task(stored(100 << 20, "a"));
    const free = task();
    expect(locality().nextFor(queueOf(far, free), "b", 0)).toBe(free);
  });

  it("never overtakes the first for ever", () => {
    const first = task(stored(5e6, "a"));
    const queue = queueOf(first);
    let taken = 0;
    for (let next: TaskEntry | undefined; next !== first; taken++) {
      queue.push(task(stored(5e6, "b")));
      next = locality().nextFor(queue, "b", 0);
      take(queue, next as TaskEntry);
    }
    expect(taken).toBeLessThan(50);
  });
});
