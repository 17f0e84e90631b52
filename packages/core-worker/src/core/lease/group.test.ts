import type { LeaseDemand } from "@tray/protocol";
import fc from "fast-check";
import { ObjectEntry } from "../object-entry.js";
import { TaskEntry, type Template } from "../task-entry.js";
import { defaultLeaseLimits, type Lease, LeaseGroup, type LeaseGroupHost } from "./group.js";

const local = "127.0.0.1:1";

/** Raylet, workers and submitter in one: grants up to `workers` leases, keeps what was pushed until the test finishes it. */
class World implements LeaseGroupHost {
  readonly group: LeaseGroup;
  readonly pushed = new Map<string, TaskEntry[]>();
  readonly steals: string[] = [];
  readonly returned: string[] = [];
  demandNow: LeaseDemand | undefined;
  granted = 0;
  now = 0;

  constructor(private readonly workers: number) {
    this.group = new LeaseGroup("1", { strategy: undefined } as never, "f", defaultLeaseLimits, this);
  }
  push(lease: Lease, tasks: TaskEntry[]): void {
    this.pushed.set(lease.id, [...(this.pushed.get(lease.id) ?? []), ...tasks]);
  }
  steal(lease: Lease): void {
    this.steals.push(lease.id);
  }
  returnLease(lease: Lease): void {
    this.returned.push(lease.id);
  }
  demand(_raylet: string, demand: LeaseDemand): void {
    this.demandNow = demand;
  }
  dial(): void {}
  unschedulable(): void {}
  localRaylet(): string {
    return local;
  }

  /** What a raylet does with the level: grants while there are workers. */
  serve(): void {
    for (let i = 0; i < 1000; i++) {
      const { demandNow } = this;
      if (demandNow === undefined || this.live() >= this.workers) return;
      const left = demandNow.wanted - (this.granted - demandNow.grantsSeen);
      if (left <= 0) return;
      this.granted++;
      const id = `lease-${this.granted}`;
      this.group.granted(
        local,
        { classKey: "1", leaseId: id, worker: { workerId: id, nodeId: "", endpoint: id }, grants: this.granted, pid: 1 },
        this.now,
      );
      this.group.leaseUp(this.group.leases.get(id) as Lease, this.now);
    }
  }
  live(): number {
    return this.group.leases.size;
  }
  finish(leaseId: string, count = 1): TaskEntry[] {
    const done: TaskEntry[] = [];
    const lease = this.group.leases.get(leaseId) as Lease;
    for (const task of (this.pushed.get(leaseId) ?? []).splice(0, count)) {
      expect(this.group.done(lease, task.number, this.now)).toBe(task);
      done.push(task);
    }
    this.group.schedule(this.now);
    return done;
  }
}

function templateOf(meanMs: number | undefined): Template {
  return { options: { numReturns: 1, maxRetries: 3 }, meanMs: { value: meanMs, add: () => undefined } } as unknown as Template;
}
const task = (number: number, template: Template): TaskEntry => new TaskEntry(template, number, new Uint8Array(0), [], [], 0);

describe("LeaseGroup", () => {
  it("L1: every task is pushed exactly once, whatever the order of grants and answers", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(undefined, 0.01, 0.5, 20),
        fc.array(fc.nat(4), { maxLength: 200 }),
        (n, workers, mean, picks) => {
          const world = new World(workers);
          const template = templateOf(mean);
          for (let i = 0; i < n; i++) world.group.enqueue(task(i, template));
          world.group.schedule(world.now);
          world.serve();
          const finished: number[] = [];
          for (const pick of [...picks, ...Array.from({ length: 400 }, (_, i) => i % 5)]) {
            world.now += 1;
            const ids = [...world.group.leases.keys()];
            const id = ids[pick % Math.max(1, ids.length)];
            if (id !== undefined) finished.push(...world.finish(id).map((t) => t.number));
            world.serve();
          }
          expect([...finished].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("L2: long tasks are not queued behind one another while workers are idle", () => {
    const world = new World(4);
    const template = templateOf(50);
    for (let i = 0; i < 4; i++) world.group.enqueue(task(i, template));
    world.group.schedule(0);
    world.serve();
    expect([...world.pushed.values()].map((tasks) => tasks.length)).toEqual([1, 1, 1, 1]);
  });

  it("short tasks go to a worker in batches", () => {
    const world = new World(1);
    const template = templateOf(0.01);
    for (let i = 0; i < 100; i++) world.group.enqueue(task(i, template));
    world.group.schedule(0);
    world.serve();
    expect(world.pushed.get("lease-1")?.length).toBe(100);
  });

  it("L2: takes back what is parked behind a task that turned out long, once a worker is idle", () => {
    const world = new World(2);
    const template = templateOf(0.01);
    for (let i = 0; i < 10; i++) world.group.enqueue(task(i, template));
    world.group.schedule(0);
    world.serve();
    const [busy, other] = [...world.group.leases.keys()] as [string, string | undefined];
    if (other !== undefined) world.finish(other, 10);
    world.now = 10;
    if (other === undefined) {
      world.group.granted(
        local,
        { classKey: "1", leaseId: "idle", worker: { workerId: "idle", nodeId: "", endpoint: "idle" }, grants: 9, pid: 1 },
        10,
      );
      world.group.leaseUp(world.group.leases.get("idle") as Lease, 10);
    }
    world.group.tick(10);
    expect(world.steals).toContain(busy);
  });

  it("asks for a worker where a task's arguments lie, though one elsewhere is idle, and gives that one the task when none came", () => {
    const world = new World(1);
    const template = templateOf(5);
    world.group.enqueue(task(1, template));
    world.group.schedule(0);
    world.serve();
    world.finish("lease-1");
    const argument = new ObjectEntry(0, undefined, undefined, 0, "argument");
    argument.state = { kind: "stored", size: 100 << 20, nodes: [{ nodeId: "far", raylet: "", bulk: "" }] };
    world.group.enqueue(new TaskEntry(template, 2, new Uint8Array(0), [argument], [], 0));
    world.group.schedule(10);
    expect(world.pushed.get("lease-1")).toEqual([]);
    expect(world.demandNow).toMatchObject({ wanted: 1, argBytesByNode: { far: 100 << 20 } });
    world.group.tick(400);
    expect(world.pushed.get("lease-1")).toEqual([]);
    world.group.tick(410);
    expect(world.pushed.get("lease-1")?.map(({ number }) => number)).toEqual([2]);
    expect(world.demandNow?.wanted).toBe(0);
  });

  it("L2: a task behind one that does not end is given to another worker, though none was asked for when it came", () => {
    const world = new World(2);
    const template = templateOf(0.01);
    world.group.enqueue(task(1, template));
    world.group.schedule(0);
    world.serve();
    world.group.enqueue(task(2, template));
    world.group.schedule(1);
    expect(world.pushed.get("lease-1")?.map((t) => t.number)).toEqual([1, 2]);
    const asked = (): number => (world.demandNow?.wanted ?? 0) - (world.granted - (world.demandNow?.grantsSeen ?? 0));
    world.group.tick(10);
    expect(asked()).toBe(0);
    world.now = 30;
    world.group.tick(world.now);
    expect(asked()).toBe(1);
    world.serve();
    expect([world.group.leases.size, world.steals]).toEqual([2, ["lease-1"]]);
  });

  it("L3: without work every lease goes back after the linger, and nothing more is asked for", () => {
    const world = new World(3);
    const template = templateOf(5);
    for (let i = 0; i < 3; i++) world.group.enqueue(task(i, template));
    world.group.schedule(0);
    world.serve();
    for (const id of [...world.group.leases.keys()]) world.finish(id);
    const level = world.demandNow as LeaseDemand;
    expect(level.wanted - (world.granted - level.grantsSeen)).toBe(0); // what the raylet would still grant
    world.group.tick(defaultLeaseLimits.lingerMs + 1);
    expect([world.group.leases.size, world.returned.length]).toEqual([0, 3]);
    expect(world.group.empty).toBe(true);
  });

  it("answers what was in flight when a worker is lost", () => {
    const world = new World(1);
    world.group.enqueue(task(1, templateOf(undefined)));
    world.group.schedule(0);
    world.serve();
    const lease = world.group.leases.get("lease-1") as Lease;
    expect(world.group.leaseEnded(lease).map((t) => t.number)).toEqual([1]);
    expect(world.group.leaseEnded(lease)).toEqual([]);
  });
});
