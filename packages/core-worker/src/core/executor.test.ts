// What a worker does with tasks that were pushed to it, with literal user threads and owners.
import { deferred, silentLogger, SimClock } from "@tray/common";
import { type TaskDone, TaskOutcome, type TaskPush, type TaskTemplate } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { Located, ToUser } from "../thread/to-user.js";
import { claimSlots, winClaim } from "../thread/claims.js";
import { Executor, type ExecutorHost } from "./executor.js";
import { Handovers } from "./handovers.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import { ReferenceTable } from "./reference-table.js";
import type { Registrar } from "./registrar.js";

const owner = { workerId: "o".repeat(32), nodeId: "n".repeat(32), endpoint: "e" };

class Worker {
  readonly clock = new SimClock();
  readonly claims = new Int32Array(new SharedArrayBuffer(claimSlots * 4));
  /** Executions handed to the user's thread, by their task's number, with the slots of their claims. */
  readonly handed = new Map<number, { id: number; slot: number }>();
  readonly answers: TaskDone[] = [];
  /** What the raylet was told of the lease's CPU. */
  readonly blocked: string[] = [];
  readonly unpinned: number[] = [];
  /** Functions on their way. */
  readonly functions = new Map<string, { reject(error: Error): void }>();
  /** Arguments on their way, by object. */
  readonly fetches = new Map<string, { resolve(value: Located): void; onAbsent(): void }>();
  readonly session = {
    local: new Map(),
    onLost: () => undefined,
    client: () => ({ tasksDone: ({ tasks }: { tasks: TaskDone[] }) => this.answers.push(...tasks) }),
  } as unknown as Session;
  private readonly references = new ReferenceTable(
    {
      freed: () => undefined,
      returned: () => undefined,
      lineageEnded: () => undefined,
      lineageValues: () => undefined,
      streamDropped: () => undefined,
    },
    () => 0,
  );
  readonly executor = new Executor(
    {
      execute: (id: number, slot: number, _key: number, number: number) => this.handed.set(number, { id, slot }),
      execTemplate: () => undefined,
    } as unknown as ToUser,
    this.claims,
    this.references,
    {
      locateAll: async ([entry]: ObjectEntry[], _purpose: unknown, onAbsent: () => void) => {
        const { promise, resolve } = deferred<Located>();
        this.fetches.set((entry as ObjectEntry).id, { resolve, onAbsent });
        return [await promise];
      },
      unpin: (pins: readonly number[]) => this.unpinned.push(...pins),
    } as unknown as ObjectFetcher,
    { settled: () => undefined } as unknown as Registrar,
    new Handovers(this.references, this.clock, () => 0),
    this.clock,
    silentLogger,
    {
      self: () => ({ ...owner, workerId: "w".repeat(32) }),
      node: () => ({ nodeId: "n", raylet: "r", bulk: "" }),
      blocked: (lease, blocked) => this.blocked.push(`${blocked ? "lends" : "takes"} ${lease}`),
      getFunction: (_job, functionId) => new Promise((_, reject) => this.functions.set(functionId, { reject })),
      activity: () => undefined,
      joinJob: () => undefined,
    } as Partial<ExecutorHost> as ExecutorHost,
  );

  push(number: number, ...refs: string[]): void {
    this.pushOf("", number, ...refs);
  }
  pushOf(functionId: string, number: number, ...refs: string[]): void {
    const template = { templateId: 1, jobId: "", functionId, retryClassesId: "", name: "f", timeoutMs: 0, maxCalls: 0 } as TaskTemplate;
    const task = {
      number,
      templateId: 1,
      attempt: 0,
      args: Buffer.alloc(0),
      refs: refs.map((objectId) => ({ ref: { objectId, owner }, known: undefined })),
    } as unknown as TaskPush;
    this.executor.push(this.session, { templates: [template], tasks: [task], leaseId: "lease" });
  }
  async arrives(objectId: string): Promise<void> {
    this.fetches.get(objectId)?.resolve({ kind: "value", value: new Uint8Array(1) });
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  begins(number: number): void {
    const { id, slot } = this.handed.get(number) as { id: number; slot: number };
    expect(winClaim(this.claims, slot, id)).toBe(true);
  }
  async stolen(...numbers: number[]): Promise<number[]> {
    this.executor.steal(this.session, { numbers });
    await this.clock.advance(1);
    expect(this.answers.every(({ outcome }) => outcome === TaskOutcome.UNSTARTED)).toBe(true);
    return this.answers.splice(0).map(({ number }) => number);
  }
}

describe("tasks taken back by their owner", () => {
  it("are those that have not begun, in whatever order they came", async () => {
    const w = new Worker();
    w.push(1, "a".repeat(40));
    w.push(2); // passes the first, whose argument is on its way
    w.push(3);
    w.begins(2);
    await w.arrives("a".repeat(40));
    expect([...w.handed.keys()]).toEqual([2, 3, 1]);
    expect((await w.stolen(1, 2, 3)).sort()).toEqual([1, 3]);
  });

  it("leave the one that would run next when nothing runs", async () => {
    const w = new Worker();
    w.push(1, "a".repeat(40));
    w.push(2);
    w.push(3);
    expect((await w.stolen(1, 2, 3)).sort()).toEqual([1, 3]);
  });
});

describe("a task that waits for an argument that is yet to be made", () => {
  it("lends its CPU while nothing else runs, and takes it again", async () => {
    const w = new Worker();
    w.push(1, "a".repeat(40));
    await w.clock.advance(100);
    expect(w.blocked).toEqual([]); // a transfer is not waited for by others
    w.fetches.get("a".repeat(40))?.onAbsent();
    await w.clock.advance(100);
    expect(w.blocked).toEqual(["lends lease"]);
    await w.arrives("a".repeat(40));
    expect([w.blocked, [...w.handed.keys()]]).toEqual([["lends lease", "takes lease"], [1]]);
  });
});

describe("a task that cannot begin", () => {
  const argument = "a".repeat(40);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  it("lets go of an argument that comes after its function turned out not to come", async () => {
    const w = new Worker();
    w.pushOf("f", 1, argument);
    w.functions.get("f")?.reject(new Error("no such function"));
    await turn();
    w.fetches.get(argument)?.resolve({ kind: "stored", pinId: 7, offset: 0, size: 1 });
    await turn();
    await w.clock.advance(1);
    expect([w.unpinned, w.answers.map(({ outcome }) => outcome)]).toEqual([[7], [TaskOutcome.SYSTEM_ERROR]]);
  });
});
