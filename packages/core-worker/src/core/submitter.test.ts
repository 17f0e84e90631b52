// Lost objects, as their owner sees it: Submitter, Lineage and ReferenceTable together, with literal answers of workers.
import { silentLogger } from "@tray/common";
import { objectIdOf, type TaskDone, TaskOutcome, type TaskReturn, type WorkerExit } from "@tray/protocol";
import fc from "fast-check";
import { ReferenceTable } from "./reference-table.js";
import { Submitter } from "./submitter.js";
import type { TaskEntry, Template } from "./task-entry.js";

const nodeAt = (nodeId: string): { nodeId: string; raylet: string; bulk: string } => ({ nodeId, raylet: nodeId, bulk: "" });
const exit = { reason: "crashed", message: "it died", stderrTail: [] as string[] } as WorkerExit;
type Made = number | string;

/** Results are numbers (the value's size, here) or names of nodes (a value in that node's store). */
class Owner {
  readonly freed: string[] = [];
  readonly discarded: string[] = [];
  readonly queue: TaskEntry[] = [];
  private number = 0;
  private slot = 0;
  readonly references: ReferenceTable = new ReferenceTable(
    {
      freed: (entry) => this.freed.push(entry.id),
      returned: () => undefined,
      lineageEnded: (task) => this.submitter.forget(task),
      lineageValues: (deltaBytes) => this.submitter.lineage.values(deltaBytes),
      streamDropped: () => undefined,
    },
    () => 0,
  );
  readonly submitter: Submitter = new Submitter(this.references, silentLogger, {
    runnable: (task) => this.queue.push(task),
    callEnqueued: () => undefined,
    callReady: (task) => this.queue.push(task),
    withdraw: (task) => {
      const at = this.queue.indexOf(task);
      if (at >= 0) this.queue.splice(at, 1);
    },
    cancelPushed: () => undefined,
    adoptContained: () => [],
    progress: () => undefined,
    linger: () => undefined,
    discard: (objectId, node) => this.discarded.push(`${objectId} at ${node.nodeId}`),
    self: () => ({ workerId: "w", nodeId: "n", endpoint: "e" }),
  });

  /** Answers the slots of its results. */
  submit(
    args: readonly number[],
    { name = "f", maxRetries = 3, numReturns = 1, actorId = undefined as string | undefined, argBytes = 0 } = {},
  ): number[] {
    const template = { id: 1, options: { name, numReturns, maxRetries, actorId }, wire: { taskPrefix: "0".repeat(22) } } as unknown as Template;
    const first = this.slot + 1;
    this.slot += numReturns;
    const refs = args.map((slot) => this.references.bySlot(slot));
    this.submitter.submit(template, ++this.number, first, 0, new Uint8Array(argBytes), refs, []);
    return Array.from({ length: numReturns }, (_, i) => first + i);
  }
  put(value: Made): number {
    const slot = ++this.slot;
    const entry = this.references.own(objectIdOf(`${"1".repeat(22)}${(++this.number).toString(16).padStart(10, "0")}`, 0), undefined, 0);
    this.references.bind(slot, entry);
    this.references.resolve(
      entry,
      typeof value === "number" ? { kind: "value", value: new Uint8Array(value) } : { kind: "stored", size: 9, nodes: [nodeAt(value)] },
    );
    return slot;
  }
  /** The next task runs and returns these. */
  run(...made: Made[]): TaskEntry {
    const task = this.queue.shift();
    if (task === undefined) throw new Error("nothing is queued");
    task.state = "pushed";
    const returns = made.map(
      (one): TaskReturn => ({
        where: typeof one === "number" ? { $case: "value", value: Buffer.alloc(one) } : { $case: "stored", value: { size: 9, nodes: [nodeAt(one)] } },
        contained: [],
      }),
    );
    this.answer(task, made.length === 0 ? TaskOutcome.ERROR : TaskOutcome.OK, returns);
    return task;
  }
  private answer(task: TaskEntry, outcome: TaskOutcome, returns: TaskReturn[]): void {
    const { number, attempt } = task;
    const done: TaskDone = { number, attempt, outcome, returns, error: undefined, durationUs: 1, needsConfirmation: false, retryable: false };
    this.submitter.done(task, done);
  }
  /** As the death of a node leaves it. */
  dies(nodeId: string): void {
    for (const entry of this.references.all())
      if (entry.state.kind === "stored") entry.state = { ...entry.state, nodes: entry.state.nodes.filter((n) => n.nodeId !== nodeId) };
  }
  /** A get finds no copy, if there is none. */
  ask(slot: number): void {
    const entry = this.references.bySlot(slot);
    if (entry.state.kind === "stored" && entry.state.nodes.length === 0) this.submitter.missing(entry, []);
  }
  state(slot: number): string {
    const { state } = this.references.bySlot(slot);
    if (state.kind === "stored") return `at ${state.nodes.map((n) => n.nodeId).join()}`;
    if (state.kind === "failed") return String((JSON.parse(state.error.detailsJson || "{}") as { reason?: string }).reason ?? state.error.code);
    return state.kind === "value" ? `${state.value.length}` : state.kind;
  }
  release(...slots: number[]): void {
    for (const slot of slots) this.references.releaseSlot(slot);
  }
  get left(): number[] {
    const { lineage } = this.submitter;
    return [this.references.size, [...this.submitter.all()].length, lineage.size, lineage.bytes];
  }
}

const nothing = [0, 0, 0, 0];

describe("a lost object", () => {
  it("is made again with what its task needs, and what was only needed for that goes again", () => {
    const o = new Owner();
    const [a = 0] = o.submit([]);
    const [b = 0] = o.submit([a]);
    o.run("n1");
    o.run("n1");
    o.release(a);
    expect(o.freed).toHaveLength(1);
    o.dies("n1");
    o.ask(b);
    expect([o.queue.length, o.state(b)]).toEqual([1, "pending"]);
    o.run("n2");
    expect(o.run("n2").attempt).toBe(1);
    expect([o.state(b), o.freed.length]).toEqual(["at n2", 2]);
    o.release(b);
    expect(o.left).toEqual(nothing);
  });

  it("is made once for all that need it", () => {
    const o = new Owner();
    const [root = 0] = o.submit([]);
    o.run("n1");
    const leaves = [1, 2, 3].map(() => o.submit([root])[0] as number);
    for (const _ of leaves) o.run("n1");
    o.release(root);
    o.dies("n1");
    for (const leaf of leaves) o.ask(leaf);
    expect(o.queue).toHaveLength(1);
    o.run("n2");
    expect(o.queue).toHaveLength(3);
  });

  it("U4: its task replaces what is lost and nothing else; new copies of the rest are deleted", () => {
    const o = new Owner();
    const slots = o.submit([], { numReturns: 4 });
    const [lost = 0, copied = 0, inline = 0, alsoLost = 0] = slots;
    o.run("n1", "n2", 7, "n1");
    o.dies("n1");
    o.ask(lost);
    o.run("n3", "n3", 8, 9);
    expect(slots.map((slot) => o.state(slot))).toEqual(["at n3", "at n2", "7", "9"]);
    expect(o.discarded).toEqual([`${o.references.bySlot(copied).id} at n3`]);
    o.release(inline, alsoLost, lost);
    o.dies("n2");
    o.ask(copied);
    o.run("n3", "n3", 8, "n3");
    expect(o.state(copied)).toBe("at n3");
    o.release(copied);
    expect(o.left).toEqual(nothing);
  });

  it("is made with the small arguments of then, though nobody holds them; a large one that was put and released is the reason why not", () => {
    const o = new Owner();
    const small = o.put(100);
    const [computed = 0] = o.submit([]);
    o.run(50);
    const large = o.put("n1");
    const [a = 0] = o.submit([small, computed]);
    const [b = 0] = o.submit([large]);
    o.run("n1");
    o.run("n1");
    expect(o.submitter.lineage.size).toBe(2);
    const before = o.submitter.lineage.bytes;
    o.release(small, computed, large);
    expect(o.submitter.lineage.bytes - before).toBe(150);
    o.dies("n1");
    o.ask(a);
    o.ask(b);
    expect([o.state(a), o.state(b)]).toEqual(["pending", "made by put"]);
    expect(o.queue[0]?.refs.map(({ state }) => state.kind)).toEqual(["value", "value"]);
    o.run("n2");
    o.release(a, b);
    expect(o.left).toEqual(nothing);
  });

  it("stays lost when the retries are spent, by crashes or by losses", () => {
    const o = new Owner();
    const [a = 0] = o.submit([], { maxRetries: 2 });
    const task = o.queue.shift() as TaskEntry;
    task.state = "pushed";
    o.submitter.lost(task, exit);
    o.run("n1");
    o.dies("n1");
    o.ask(a);
    o.run("n2");
    expect([o.state(a), o.submitter.lineage.size]).toEqual(["at n2", 0]); // it could not run again: nothing is kept for that
    o.dies("n2");
    o.ask(a);
    expect(o.state(a)).toBe("retries spent");
    expect((o.references.bySlot(a).state as { error: { message: string } }).error.message).toContain(
      "ran 3 times, as often as its maxRetries (2) allows",
    );
  });

  it("of an actor is made by a call again, if calls may be repeated and the actor lives", () => {
    const o = new Owner();
    const [a = 0] = o.submit([], { actorId: "x" });
    const [once = 0] = o.submit([], { actorId: "x", maxRetries: 0 });
    const [dead = 0] = o.submit([], { actorId: "y" });
    for (let i = 0; i < 3; i++) o.run("n1");
    o.dies("n1");
    for (const slot of [a, once, dead]) o.ask(slot);
    expect(o.queue.map((task) => task.attempt)).toEqual([1, 1]);
    o.run("n2");
    o.submitter.fail(o.queue[0] as TaskEntry, { code: "ACTOR_DIED", message: "it is dead", hint: "", detailsJson: "", cause: Buffer.alloc(0) });
    expect([o.state(a), o.state(once), o.state(dead)]).toEqual(["at n2", "retries spent", "actor not restartable"]);
    o.release(a, once, dead);
    expect(o.left).toEqual(nothing);
  });

  it("of an actor whose handle is gone is asked of that actor all the same", () => {
    const o = new Owner();
    const handle = o.references.own(`${"x".repeat(24)}${"f".repeat(16)}`, undefined, 0);
    handle.isHandle = true;
    o.references.bind(99, handle);
    const [a = 0] = o.submit([99], { actorId: "x" });
    // A handle never is ready: calls hold it inside their arguments.
    const task = o.references.bySlot(a).task as TaskEntry;
    [task.refs, task.held] = [[], task.refs];
    o.queue.push(task);
    o.run("n1");
    o.release(99);
    expect(o.freed).toEqual([handle.id]);
    o.dies("n1");
    o.ask(a);
    expect([o.queue.length, handle.state.kind]).toEqual([1, "freed"]);
    o.run("n2");
    o.release(a);
    expect([o.left, o.freed.filter((id) => id === handle.id)]).toEqual([nothing, [handle.id]]);
  });

  it("can be made again for another although the first who needed it was cancelled", () => {
    const o = new Owner();
    const [root = 0] = o.submit([]);
    o.run("n1");
    const [b = 0] = o.submit([root]);
    const [c = 0] = o.submit([root]);
    o.run("n1");
    o.run("n1");
    o.release(root);
    o.dies("n1");
    o.ask(b);
    o.submitter.cancel(o.references.bySlot(b).task as TaskEntry, false, false);
    expect(o.state(b)).toBe("TASK_CANCELLED");
    o.run("n2"); // the root, which nobody waits for any more
    o.dies("n2");
    o.ask(c);
    o.run("n3");
    o.run("n3");
    expect(o.state(c)).toBe("at n3");
  });
});

describe("chains of any length", () => {
  const length = 30_000;
  const chain = (o: Owner): number => {
    let [last = 0] = o.submit([]);
    o.run("n1");
    for (let i = 1; i < length; i++) {
      const [next = 0] = o.submit([last]);
      o.run("n1");
      o.release(last);
      last = next;
    }
    return last;
  };

  it("are forgotten with their last link", () => {
    const o = new Owner();
    const last = chain(o);
    expect(o.submitter.lineage.size).toBe(length);
    o.release(last);
    expect(o.left).toEqual(nothing);
  });

  it("are made again from their beginning, and fail with it", () => {
    const o = new Owner();
    const last = chain(o);
    o.dies("n1");
    o.ask(last);
    expect(o.queue).toHaveLength(1);
    o.run();
    expect(o.state(last)).toBe("SYSTEM");
    o.release(last);
    expect(o.left).toEqual(nothing);
  });

  it("are made again when every link is held and lost", () => {
    const o = new Owner();
    const slots = o.submit([]);
    o.run("n1");
    for (let i = 1; i < length; i++) {
      slots.push(...o.submit(slots.slice(-1)));
      o.run("n1");
    }
    o.dies("n1");
    o.ask(slots.at(-1) as number);
    expect(o.queue).toHaveLength(1);
    for (let i = 0; i < length; i++) o.run("n2");
    expect(o.state(slots.at(-1) as number)).toBe("at n2");
    o.release(...slots);
    expect(o.left).toEqual(nothing);
  });
});

describe("maxLineageBytes", () => {
  it("the oldest tasks go, their loss says so, and so does what was made of them", () => {
    const o = new Owner();
    o.submitter.lineage.limitBytes = 10_000;
    const old = o.submit([], { argBytes: 3000, name: "old" })[0] as number;
    o.run("n1");
    const child = o.submit([old])[0] as number;
    o.run("n1");
    const late = [1, 2, 3].map(() => o.submit([], { argBytes: 2000 })[0] as number);
    for (const _ of late) o.run("n1");
    expect(o.submitter.lineage.bytes).toBeLessThanOrEqual(10_000);
    expect([o.submitter.lineage.evicted, o.references.bySlot(old).task?.args.length]).toEqual([1, 0]);
    o.dies("n1");
    for (const slot of [child, ...late]) o.ask(slot);
    expect([old, child].map((slot) => o.state(slot))).toEqual(["lineage evicted", "lineage evicted"]);
    expect(o.queue).toHaveLength(3);
    const { error } = o.references.bySlot(old).state as { error: { message: string; hint: string; detailsJson: string } };
    expect(error.message).toContain("run task old again was evicted: a process keeps maxLineageBytes (9.8 KiB)");
    expect(error.hint).toContain("raise maxLineageBytes");
    expect(JSON.parse(error.detailsJson)).toMatchObject({ maxLineageBytes: 10_000, task: "old" });
  });

  it("small values count while nothing but lineage keeps them, and go with the tasks that need them", () => {
    const o = new Owner();
    o.submitter.lineage.limitBytes = 10_000;
    const small = o.put(9_500);
    const [a = 0] = o.submit([small]);
    const [b = 0] = o.submit([small]);
    o.run("n1");
    o.run("n1");
    expect(o.submitter.lineage.size).toBe(2);
    o.release(small);
    expect([o.submitter.lineage.size, o.submitter.lineage.bytes, o.freed.length]).toEqual([0, 0, 1]);
    o.release(a, b);
    expect(o.left).toEqual(nothing);
  });

  it("none at all keeps nothing", () => {
    const o = new Owner();
    o.submitter.lineage.limitBytes = 0;
    const [a = 0] = o.submit([]);
    o.run("n1");
    o.dies("n1");
    o.ask(a);
    expect([o.state(a), o.left.slice(1)]).toEqual(["lineage evicted", [0, 0, 0]]);
  });

  it("holds after any history, and nothing is left when all is released", () => {
    const size = fc.oneof(fc.constantFrom("n1", "n2", "n3"), fc.integer({ min: 1, max: 900 }));
    const pick = fc.nat({ max: 30 });
    const op = fc.oneof(
      fc.record({
        kind: fc.constant("submit" as const),
        args: fc.array(pick, { maxLength: 3 }),
        bytes: fc.nat({ max: 1500 }),
        returns: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({ kind: fc.constant("put" as const), value: size }),
      fc.record({ kind: fc.constant("run" as const), made: fc.array(size, { minLength: 3, maxLength: 3 }) }),
      fc.record({ kind: fc.constantFrom("fail" as const, "crash" as const) }),
      fc.record({ kind: fc.constantFrom("release" as const, "ask" as const, "cancel" as const), which: pick }),
      fc.record({ kind: fc.constant("die" as const), node: fc.constantFrom("n1", "n2", "n3") }),
    );
    fc.assert(
      fc.property(fc.array(op, { maxLength: 80 }), fc.integer({ min: 0, max: 6000 }), (ops, limit) => {
        const o = new Owner();
        o.submitter.lineage.limitBytes = limit;
        const live: number[] = [];
        const at = (i: number): number | undefined => live[i % Math.max(1, live.length)];
        for (const step of ops) {
          if (step.kind === "submit") {
            const args = step.args.flatMap((i) => at(i) ?? []);
            live.push(...o.submit(args, { numReturns: step.returns, argBytes: step.bytes }));
          } else if (step.kind === "put") live.push(o.put(step.value));
          else if (step.kind === "die") o.dies(step.node);
          else if (step.kind === "run" && o.queue.length > 0) o.run(...step.made.slice(0, o.queue[0]?.returns.length));
          else if (step.kind === "fail" && o.queue.length > 0) o.run();
          else if (step.kind === "crash" && o.queue.length > 0) {
            const task = o.queue.shift() as TaskEntry;
            task.state = "pushed";
            o.submitter.lost(task, exit);
          } else if (step.kind === "release" || step.kind === "ask" || step.kind === "cancel") {
            const slot = at(step.which);
            if (slot === undefined) continue;
            if (step.kind === "ask") o.ask(slot);
            else if (step.kind === "release") o.release(...live.splice(live.indexOf(slot), 1));
            else {
              const { task } = o.references.bySlot(slot);
              if (task !== undefined && task.state !== "pushed") o.submitter.cancel(task, false, false);
            }
          }
          expect(o.submitter.lineage.bytes).toBeLessThanOrEqual(limit); // L1
        }
        while (o.queue.length > 0) o.run(...(o.queue[0] as TaskEntry).returns.map(() => "n1"));
        for (const slot of live) expect(o.state(slot)).not.toMatch(/pending|freed/);
        o.release(...live);
        expect(o.left).toEqual(nothing);
      }),
      { numRuns: 400 },
    );
  });
});
