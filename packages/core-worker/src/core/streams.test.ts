// The owner's side of streams: Submitter, Streams and ReferenceTable together, with literal answers of a worker.
import { silentLogger } from "@tray/common";
import { type ErrorInfo, objectIdOf, type StreamItem, type StreamStart, type TaskDone, TaskOutcome, type WorkerExit } from "@tray/protocol";
import type { ObjectEntry } from "./object-entry.js";
import { ReferenceTable } from "./reference-table.js";
import { Submitter } from "./submitter.js";
import type { TaskEntry, Template } from "./task-entry.js";

const node = { nodeId: "n1", raylet: "127.0.0.1:1", bulk: "" };
const exit = { reason: "crashed", message: "it died" } as WorkerExit;

class Owner {
  readonly cancelled: { force: boolean; recursive: boolean }[] = [];
  readonly told: number[] = [];
  readonly freed: string[] = [];
  readonly discarded: string[] = [];
  readonly queue: TaskEntry[] = [];
  /** Slots 100 and up. */
  readonly taken: (ObjectEntry | "end")[] = [];
  readonly references: ReferenceTable = new ReferenceTable(
    {
      freed: (entry) => this.freed.push(entry.id),
      returned: () => undefined,
      lineageEnded: (task) => this.submitter.forget(task),
      lineageValues: (deltaBytes) => this.submitter.lineage.values(deltaBytes),
      streamDropped: (task, stream) => this.submitter.streamDropped(task, stream),
    },
    () => 0,
  );
  readonly submitter: Submitter;
  readonly task: TaskEntry;

  constructor(maxRetries = 3, actorId?: string) {
    this.submitter = new Submitter(this.references, silentLogger, {
      runnable: (task) => this.queue.push(task),
      callEnqueued: (task) => this.queue.push(task),
      callReady: () => undefined,
      withdraw: (task) => void this.queue.splice(this.queue.indexOf(task), 1),
      cancelPushed: (_task, force, recursive) => this.cancelled.push({ force, recursive }),
      adoptContained: () => [],
      progress: (_session, _number, _attempt, consumed) => this.told.push(consumed),
      discard: (objectId) => this.discarded.push(objectId),
      linger: () => undefined,
      self: () => ({ workerId: "w", nodeId: "n", endpoint: "e" }),
    });
    const template = {
      id: 1,
      options: { name: "items", numReturns: 1, streaming: true, backpressure: 4, maxRetries, actorId },
      wire: { taskPrefix: "0".repeat(22) },
    } as unknown as Template;
    this.task = this.submitter.submit(template, 7, 1, 0, new Uint8Array(0), [], []);
  }

  /** To a worker; answers what it is told. */
  push(): StreamStart | undefined {
    const task = this.queue.shift();
    if (task === undefined) throw new Error("nothing is queued");
    task.state = "pushed";
    return this.submitter.toWire(task, {} as Parameters<Submitter["toWire"]>[1]).stream;
  }
  yields(index: number, stored = false, attempt = this.task.attempt): void {
    const where: NonNullable<StreamItem["item"]>["where"] = stored
      ? { $case: "stored", value: { size: 9, nodes: [node] } }
      : { $case: "value", value: Buffer.from([index]) };
    this.submitter.itemMade(this.task, { number: 7, attempt, index, item: { where, contained: [] } });
  }
  answers(outcome: TaskOutcome, count = 0, error?: ErrorInfo): void {
    const value = Buffer.alloc(8);
    value.writeDoubleLE(count);
    const returns: TaskDone["returns"] = outcome === TaskOutcome.OK ? [{ where: { $case: "value", value }, contained: [] }] : [];
    const attempt = this.task.attempt;
    this.submitter.done(this.task, { number: 7, attempt, outcome, returns, error, durationUs: 1, needsConfirmation: false, retryable: false });
  }
  take(): void {
    const slot = 100 + this.taken.length;
    const { stream } = this.task;
    if (stream === undefined) throw new Error("no stream");
    this.submitter.takeItem(this.task, stream, {
      take: (entry) => {
        this.references.bind(slot, entry);
        this.taken.push(entry);
      },
      end: () => this.taken.push("end"),
    });
  }
  get states(): string[] {
    return this.taken.map((entry) =>
      entry === "end" ? "end" : entry.state.kind === "failed" ? entry.state.error.code : `${entry.index} ${entry.state.kind}`,
    );
  }
}

const idOf = (index: number): string => objectIdOf(`${"0".repeat(22)}0000000007`, index);
const thrown = { code: "TASK_ERROR", message: "thrown", hint: "", detailsJson: "", cause: Buffer.alloc(0) };

describe("streams of an owner", () => {
  it("items are taken in order, the producer is told, nothing is left in the end", () => {
    const o = new Owner();
    expect(o.push()).toEqual({ delivered: 0, consumed: 0, wanted: [], until: 0 });
    for (const i of [1, 2, 3]) o.yields(i, i === 2);
    for (let i = 0; i < 4; i++) o.take();
    o.answers(TaskOutcome.OK, 3);
    expect(o.states).toEqual(["1 value", "2 stored", "3 value", "end"]);
    expect(o.told).toEqual([1, 2, 3]);
    o.references.releaseSlot(1);
    for (let i = 0; i < 3; i++) o.references.releaseSlot(100 + i);
    expect([o.references.size, [...o.submitter.all()].length, o.cancelled]).toEqual([0, 0, []]);
  });

  it("M3: what ends it early is the last item", () => {
    const o = new Owner(0);
    o.push();
    o.yields(1);
    o.answers(TaskOutcome.ERROR, 0, thrown);
    for (let i = 0; i < 3; i++) o.take();
    expect(o.states).toEqual(["1 value", "TASK_ERROR", "end"]);
  });

  it("S1: a retry is told what was delivered; items of the lost attempt that come late are deleted where they lie", () => {
    const o = new Owner();
    o.push();
    o.yields(1);
    o.yields(2);
    o.take();
    o.submitter.lost(o.task, exit);
    expect(o.push()).toEqual({ delivered: 2, consumed: 1, wanted: [], until: 0 });
    o.yields(3, true, 0);
    expect(o.discarded).toEqual([idOf(3)]);
    o.yields(3);
    o.answers(TaskOutcome.OK, 3);
    for (let i = 0; i < 3; i++) o.take();
    expect(o.states).toEqual(["1 value", "2 value", "3 value", "end"]);
  });

  it("a copy that a lost attempt did not tell of goes with the item, or with the stream", () => {
    const o = new Owner();
    o.push();
    o.submitter.lost(o.task, exit);
    o.push();
    expect([1, 2].map((index) => o.submitter.isComing(idOf(index), node))).toEqual([true, true]);
    o.yields(1);
    expect(o.submitter.isComing(idOf(1), node)).toBe(false);
    o.take();
    expect((o.taken[0] as ObjectEntry).strays).toEqual([node]);
    o.answers(TaskOutcome.OK, 1);
    expect(o.discarded).toEqual([idOf(2)]);
  });

  it("a replay that yields less than was delivered ends the stream with words", () => {
    const o = new Owner();
    o.push();
    for (const i of [1, 2]) o.yields(i);
    o.submitter.lost(o.task, exit);
    o.push();
    o.answers(TaskOutcome.OK, 1);
    for (let i = 0; i < 4; i++) o.take();
    expect(o.states).toEqual(["1 value", "2 value", "OBJECT_RECONSTRUCTION_FAILED", "end"]);
  });

  it("M1, M2: dropped, it frees what was not taken, cancels, and wants nothing more", () => {
    const o = new Owner();
    o.push();
    for (const i of [1, 2, 3]) o.yields(i, true);
    o.take();
    o.references.releaseSlot(1);
    expect(o.freed).toEqual([idOf(2), idOf(3)]);
    expect(o.cancelled).toEqual([{ force: false, recursive: false }]); // what the generator submitted may be in items
    o.yields(4, true);
    expect(o.discarded).toEqual([idOf(4)]);
    o.submitter.lost(o.task, exit); // no retry for a stream that nobody wants
    expect([o.task.state, o.queue]).toEqual(["done", []]);
    expect(o.states).toEqual(["1 stored"]);
    o.references.releaseSlot(100);
    expect(o.references.size).toBe(0);
  });

  it("dropped before it left, it never leaves", () => {
    const o = new Owner();
    o.references.releaseSlot(1);
    expect([o.queue, o.task.state, o.references.size]).toEqual([[], "done", 0]);
  });

  it("an item lost while the attempt goes on makes it begin again, with that item wanted", () => {
    const o = new Owner();
    o.push();
    for (const i of [1, 2]) o.yields(i, true);
    o.take();
    o.submitter.missing(o.taken[0] as ObjectEntry, [node.nodeId]);
    expect(o.cancelled).toHaveLength(1);
    o.answers(TaskOutcome.CANCELLED);
    expect(o.push()).toEqual({ delivered: 2, consumed: 1, wanted: [1], until: 0 });
    expect(o.states).toEqual(["1 pending"]);
    o.yields(1, true);
    o.yields(3);
    o.answers(TaskOutcome.OK, 3);
    for (let i = 0; i < 3; i++) o.take();
    expect(o.states).toEqual(["1 stored", "2 stored", "3 value", "end"]);
  });

  it("an item lost after the end, or after the consumer left, is made again, and no more than needed", () => {
    for (const dropped of [false, true]) {
      const o = new Owner();
      o.push();
      for (const i of [1, 2, 3]) o.yields(i, true);
      for (let i = 0; i < 2; i++) o.take();
      if (dropped) {
        o.references.releaseSlot(1);
        o.answers(TaskOutcome.CANCELLED);
      } else o.answers(TaskOutcome.OK, 3);
      expect(o.task.state).toBe("done");
      o.submitter.missing(o.taken[1] as ObjectEntry, [node.nodeId]);
      expect(o.push()).toEqual({ delivered: 3, consumed: 2, wanted: [2], until: 2 });
      o.yields(2, true);
      o.answers(TaskOutcome.OK, 2);
      expect(o.states).toEqual(["1 stored", "2 stored"]);
      expect(o.task.state).toBe("done");
    }
  });

  it("items that went with their nodes are asked for by the retry itself", () => {
    const o = new Owner();
    o.push();
    o.yields(1, true);
    o.take();
    const item = o.taken[0] as ObjectEntry;
    item.state = { kind: "stored", size: 9, nodes: [] }; // as the death of a node leaves it
    o.submitter.lost(o.task, exit);
    expect(o.push()).toEqual({ delivered: 1, consumed: 1, wanted: [1], until: 0 });
    o.yields(1, true);
    expect([o.states, o.cancelled]).toEqual([["1 stored"], []]);
  });

  it("without retries left, or of an actor, a lost item stays lost", () => {
    for (const o of [new Owner(0), new Owner(3, "actor")]) {
      o.push();
      o.task.state = "pushed";
      o.yields(1, true);
      o.take();
      o.answers(TaskOutcome.OK, 1);
      o.submitter.missing(o.taken[0] as ObjectEntry, [node.nodeId]);
      expect(o.states).toEqual(["OBJECT_RECONSTRUCTION_FAILED"]);
    }
  });
});
