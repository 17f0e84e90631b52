// ActorCaller over real sessions with workers that record what reaches them.
import { ActorState, ActorInfo, type ErrorInfo, type Handlers, Requirements, TaskPush, TaskTemplate, WorkerService } from "@tray/protocol";
import type { CallContext, Endpoint, Session } from "@tray/rpc";
import fc from "fast-check";
import { TestNetwork } from "../../test/network.js";
import { ActorCaller } from "./actor-caller.js";
import { errorInfo } from "./failures.js";
import type { Peers } from "./peers.js";
import { TaskEntry, Template } from "./task-entry.js";

const { ALIVE, DEAD, PENDING_CREATION, RESTARTING } = ActorState;
const actorId = "00000001aaaaaaaaaaaaaaaa";
const giveUpMs = 5_000;
const none = new Uint8Array();

interface Pushed {
  readonly number: number;
  readonly sequence: number;
  readonly incarnation: number;
  readonly attempt: number;
}

/** The process of an actor: what it was sent, session by session. */
class Worker {
  readonly sessions: Pushed[][] = [];
  private readonly bySession = new Map<Session, Pushed[]>();
  private readonly endpoint: Endpoint;

  constructor(
    private readonly net: TestNetwork,
    readonly host: string,
    readonly id = host,
  ) {
    this.endpoint = net.endpoint(host, "worker", { id });
    const unused = (): never => {
      throw new Error("not asked in these tests");
    };
    const handlers = Object.fromEntries(Object.keys(WorkerService.methods).map((name) => [name, unused]));
    this.endpoint.serve(WorkerService, {
      ...(handlers as unknown as Handlers<typeof WorkerService, CallContext>),
      pushTasks: ({ tasks }, { session }) => {
        let pushed = this.bySession.get(session);
        if (pushed === undefined) {
          this.bySession.set(session, (pushed = []));
          this.sessions.push(pushed);
        }
        for (const { number, sequence, incarnation, attempt } of tasks) pushed.push({ number, sequence, incarnation, attempt });
      },
    });
  }
  async start(): Promise<this> {
    await this.net.clock.complete(this.endpoint.listen(`${this.host}:1`));
    return this;
  }
  get pushed(): Pushed[] {
    return this.sessions.flat();
  }
  get numbers(): number[] {
    return this.pushed.map((push) => push.number);
  }
  /** As published for the incarnation that it is. */
  alive(incarnation = 0): ActorInfo {
    return ActorInfo.fromPartial({ actorId, state: ALIVE, incarnation, address: { workerId: this.id, nodeId: "n", endpoint: `${this.host}:1` } });
  }
  crash(): void {
    this.net.network.crash(this.host);
    void this.endpoint.close();
  }
}

class Caller {
  readonly net: TestNetwork;
  readonly failed: { number: number; code: string }[] = [];
  readonly caller: ActorCaller;
  readonly dialled: string[] = [];
  private readonly peers: Peers;
  private last = 0;

  constructor(seed = 1) {
    this.net = new TestNetwork(seed);
    this.peers = this.net.peers(this.net.endpoint("caller", "driver"), giveUpMs);
    this.caller = new ActorCaller(actorId, {
      dial: (address) => {
        this.dialled.push(address);
        return this.peers.worker(address);
      },
      push: (session, tasks, incarnation) => {
        const pushes = tasks.map(({ number, sequence, attempt }) => TaskPush.fromPartial({ number, sequence, attempt, incarnation }));
        session.client(WorkerService).pushTasks({ templates: [], tasks: pushes, leaseId: "" });
      },
      fail: (task, error) => {
        task.state = "done";
        this.failed.push({ number: task.number, code: error.code });
      },
      takeRetry: (task) => {
        if (task.cancelled || task.retriesLeft === 0) return false;
        if (task.retriesLeft > 0) task.retriesLeft--;
        return true;
      },
      soon: (fn) => this.net.clock.soon(fn),
      after: (delayMs, fn) => void this.net.clock.after(delayMs, fn),
    });
  }
  get clock(): TestNetwork["clock"] {
    return this.net.clock;
  }
  get failedNumbers(): number[] {
    return this.failed.map((failure) => failure.number);
  }
  worker(host: string, id?: string): Promise<Worker> {
    return new Worker(this.net, host, id).start();
  }
  /** Submits a call. */
  call(maxRetries = 0, state: TaskEntry["state"] = "queued"): TaskEntry {
    const options = { functionId: "", name: "m", numReturns: 1, resources: {}, maxRetries, retryExceptions: false, actorId, method: "m" };
    const task = new TaskEntry(new Template(1, options, TaskTemplate.fromPartial({}), Requirements.fromPartial({})), ++this.last, none, [], [], 0);
    task.state = state;
    this.caller.enqueue(task, false);
    return task;
  }
  calls(count: number, maxRetries = 0): TaskEntry[] {
    return Array.from({ length: count }, () => this.call(maxRetries));
  }
  answer(number: number): void {
    const task = this.caller.done(number);
    if (task !== undefined) task.state = "done";
  }
  /** Cuts the caller off for long enough that its session with `host` is lost. */
  async loseTheWay(host: string, forMs = 40_000): Promise<void> {
    this.net.network.partition("caller", host);
    await this.clock.advance(forMs);
  }
}

const stateOf = (state: ActorState, incarnation = 0, more: Partial<ActorInfo> = {}): ActorInfo =>
  ActorInfo.fromPartial({ actorId, state, incarnation, ...more });

describe("ActorCaller: order", () => {
  it("A3, A1: nothing leaves before the actor is ALIVE; then all calls in the order of their submission", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.calls(3);
    c.caller.published(stateOf(PENDING_CREATION));
    await c.clock.advance(1_000);
    expect([worker.numbers, c.dialled, c.caller.pending]).toEqual([[], [], 3]);
    c.caller.published(worker.alive());
    c.calls(2);
    await c.clock.advance(100);
    c.calls(1);
    await c.clock.advance(100);
    expect(worker.pushed).toEqual([1, 2, 3, 4, 5, 6].map((number) => ({ number, sequence: number - 1, incarnation: 0, attempt: 0 })));
    for (const number of worker.numbers) c.answer(number);
    expect(c.caller.pending).toBe(0);
  });

  it("A1: a call whose arguments are missing holds back those behind it; one that ended meanwhile does not", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.call();
    const waiting = c.call(0, "waiting");
    const failed = c.call(0, "waiting");
    c.calls(2);
    await c.clock.advance(100);
    expect(worker.numbers).toEqual([1]);
    failed.state = "done"; // its argument failed
    waiting.state = "queued";
    c.caller.ready();
    await c.clock.advance(100);
    expect(worker.pushed.map(({ number, sequence }) => [number, sequence])).toEqual([
      [1, 0],
      [2, 1],
      [4, 2],
      [5, 3],
    ]); // prettier-ignore
  });

  it("a withdrawn call lets those behind it go", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    const waiting = c.call(0, "waiting");
    c.calls(1);
    c.caller.withdraw(waiting);
    await c.clock.advance(100);
    expect([worker.numbers, c.caller.pending]).toEqual([[2], 1]);
  });

  it("a call that comes back for another attempt goes before the later ones that have not left", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    const [first] = c.calls(1, 1);
    await c.clock.advance(100);
    c.call(0, "waiting");
    c.calls(1);
    const again = first as TaskEntry;
    again.state = "queued";
    again.attempt = 1;
    c.caller.enqueue(again, true);
    await c.clock.advance(100);
    expect(worker.pushed.map(({ number, attempt, sequence }) => [number, attempt, sequence])).toEqual([
      [1, 0, 0],
      [1, 1, 1],
    ]); // prettier-ignore
    expect(c.caller.pending).toBe(3);
  });
});

describe("ActorCaller: refusal and death", () => {
  it("a refused registration fails what waits and whatever comes later", async () => {
    const c = new Caller();
    c.calls(2);
    const error: ErrorInfo = errorInfo("NAME_TAKEN", "taken");
    c.caller.refuse(error);
    c.calls(1);
    await c.clock.advance(10);
    expect(c.failed).toEqual([1, 2, 3].map((number) => ({ number, code: "NAME_TAKEN" })));
    expect([c.caller.deathError, c.caller.pending]).toEqual([error, 0]);
  });

  it("DEAD fails calls in flight, queued and later ones with the cause, retries or not, and is final", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.calls(2, -1);
    await c.clock.advance(100);
    c.call(-1, "waiting");
    c.caller.published(stateOf(DEAD, 0, { deathCause: errorInfo("ACTOR_DIED", "killed") }));
    c.caller.published(worker.alive(1));
    c.calls(1, -1);
    await c.clock.advance(10_000);
    expect(c.failed).toEqual([1, 2, 3, 4].map((number) => ({ number, code: "ACTOR_DIED" })));
    expect(worker.numbers).toEqual([1, 2]);
  });

  it("DEAD also settles calls whose worker was lost before", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.calls(2, -1);
    await c.clock.advance(100);
    worker.crash();
    await c.clock.advance(1_000);
    expect([c.failed, c.caller.pending]).toEqual([[], 2]); // A2: the GCS has yet to say
    c.caller.published(stateOf(DEAD));
    expect(c.failedNumbers).toEqual([1, 2]);
  });

  it("ignores what is older than what it knows", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive(1));
    c.caller.published(stateOf(RESTARTING, 1));
    c.caller.published(stateOf(PENDING_CREATION, 0));
    c.caller.published(stateOf(DEAD, 0));
    expect([c.caller.state?.state, c.caller.state?.incarnation, c.caller.deathError]).toEqual([ALIVE, 1, undefined]);
    c.calls(1);
    await c.clock.advance(100);
    expect(worker.pushed).toMatchObject([{ number: 1, incarnation: 1 }]);
  });
});

describe("ActorCaller: restarts", () => {
  it("A2: calls in flight wait for the GCS; then those with retries go to the next incarnation, in order, and the others fail", async () => {
    const c = new Caller();
    const first = await c.worker("w0");
    c.caller.published(first.alive());
    c.call(0);
    c.call(1);
    c.call(-1);
    await c.clock.advance(100);
    first.crash();
    await c.clock.advance(1_000);
    c.calls(1);
    await c.clock.advance(3_000);
    expect(c.failed).toEqual([]);
    c.caller.published(stateOf(RESTARTING, 1));
    expect(c.failed).toEqual([{ number: 1, code: "ACTOR_UNAVAILABLE" }]);
    const second = await c.worker("w1");
    c.caller.published(second.alive(1));
    await c.clock.advance(100);
    expect(second.pushed).toEqual([
      { number: 2, sequence: 0, incarnation: 1, attempt: 1 },
      { number: 3, sequence: 1, incarnation: 1, attempt: 1 },
      { number: 4, sequence: 2, incarnation: 1, attempt: 0 },
    ]);
    expect(first.numbers).toEqual([1, 2, 3]);
  });

  it("a cancelled call does not go again", async () => {
    const c = new Caller();
    const first = await c.worker("w0");
    c.caller.published(first.alive());
    const [task] = c.calls(1, -1);
    await c.clock.advance(100);
    (task as TaskEntry).cancelled = true;
    const second = await c.worker("w1");
    c.caller.published(second.alive(1)); // RESTARTING was missed
    await c.clock.advance(100);
    expect([c.failedNumbers, second.numbers]).toEqual([[1], []]);
  });
});

describe("ActorCaller: redial", () => {
  it("A2: a lost way to a living actor is found again; calls that were in flight cost a retry or fail", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.call(0);
    const retried = c.call(2);
    await c.clock.advance(100);
    await c.loseTheWay("w");
    c.calls(1);
    expect([c.failed, c.caller.pending]).toEqual([[], 3]);
    c.net.network.heal();
    await c.clock.advance(10_000);
    expect(c.failed).toEqual([{ number: 1, code: "ACTOR_UNAVAILABLE" }]);
    expect(worker.sessions.map((pushed) => pushed.map(({ number, sequence, attempt }) => [number, sequence, attempt]))).toEqual([
      [
        [1, 0, 0],
        [2, 1, 0],
      ],
      [
        [2, 0, 1],
        [3, 1, 0],
      ],
    ]); // prettier-ignore
    expect(retried.retriesLeft).toBe(1);
  });

  it("what never left costs nothing", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.net.network.partition("caller", "w");
    c.caller.published(worker.alive());
    c.calls(2, 0);
    await c.clock.advance(60_000);
    expect([c.failed, c.caller.pending]).toEqual([[], 2]);
    c.net.network.heal();
    await c.clock.advance(10_000);
    expect(worker.pushed).toEqual([1, 2].map((number) => ({ number, sequence: number - 1, incarnation: 0, attempt: 0 })));
  });

  it("dials nobody while nothing waits, and again with the next call", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.calls(1);
    await c.clock.advance(100);
    c.answer(1);
    await c.loseTheWay("w");
    const { length } = c.dialled;
    c.net.network.heal();
    await c.clock.advance(60_000);
    expect(c.dialled).toHaveLength(length);
    c.calls(1);
    await c.clock.advance(1_000);
    expect(worker.numbers).toEqual([1, 2]);
  });

  it("another process at the address is not the actor: it waits for the GCS", async () => {
    const c = new Caller();
    const worker = await c.worker("w", "first");
    c.caller.published(worker.alive());
    c.calls(1, 1);
    await c.clock.advance(100);
    worker.crash();
    const other = await c.worker("w", "other");
    await c.clock.advance(1_000);
    c.calls(1);
    await c.clock.advance(60_000);
    expect([other.numbers, c.failed, c.caller.pending]).toEqual([[], [], 2]);
    const next = await c.worker("w1");
    c.caller.published(next.alive(1));
    await c.clock.advance(1_000);
    expect([other.numbers, next.numbers]).toEqual([[], [1, 2]]);
  });

  it("A2: the GCS tells again that it is ALIVE while the way is lost: calls that were in flight are settled all the same", async () => {
    const c = new Caller();
    const worker = await c.worker("w");
    c.caller.published(worker.alive());
    c.call(0);
    c.call(1);
    await c.clock.advance(100);
    c.net.network.partition("caller", "w");
    await c.clock.runUntil(() => c.caller.sessionOf({ number: 1 } as TaskEntry) === undefined);
    c.caller.published(worker.alive()); // after a restart of the GCS, say
    c.net.network.heal();
    await c.clock.advance(10_000);
    expect([c.failedNumbers, worker.sessions.at(-1)?.map((push) => push.number)]).toEqual([[1], [2]]);
  });
});

type Op =
  | { op: "call"; retries: number; waits: boolean }
  | { op: "ready" }
  | { op: "answer" }
  | { op: "crash" }
  | { op: "restarting" }
  | { op: "alive" }
  | { op: "cut" }
  | { op: "heal" }
  | { op: "pass"; ms: number };

const just = (weight: number, op: Exclude<Op["op"], "call" | "pass">): { weight: number; arbitrary: fc.Arbitrary<Op> } => ({
  weight,
  arbitrary: fc.constant({ op }),
});
const ops: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("call" as const), retries: fc.constantFrom(0, 1, -1), waits: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant("pass" as const), ms: fc.constantFrom(1, 10, 300, 20_000) }) },
  just(3, "ready"),
  just(3, "answer"),
  just(1, "crash"),
  just(1, "restarting"),
  just(2, "alive"),
  just(1, "cut"),
  just(1, "heal"),
);

describe("ActorCaller under any order of events", () => {
  it("A1, A2: calls of one submission order leave in it, once per session, and each is answered or fails in the end", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(ops, { maxLength: 40 }), fc.integer(), async (sequence, seed) => {
        const c = new Caller(seed);
        const workers = [await c.worker("w0")];
        const waiting: TaskEntry[] = [];
        const tasks: TaskEntry[] = [];
        let told = -1; // the incarnation last published as ALIVE
        const current = (): Worker => workers.at(-1) as Worker;
        const crash = async (): Promise<void> => {
          current().crash();
          workers.push(await c.worker(`w${workers.length}`));
        };
        const publish = (): void => {
          told = workers.length - 1;
          c.caller.published(current().alive(told));
        };
        const answerAll = (): void => {
          for (const { number } of current().pushed) c.answer(number);
        };
        const makeReady = (): void => {
          for (const task of waiting.splice(0)) task.state = "queued";
          c.caller.ready();
        };
        for (const step of sequence) {
          if (step.op === "call") {
            const task = c.call(step.retries, step.waits ? "waiting" : "queued");
            tasks.push(task);
            if (step.waits) waiting.push(task);
          } else if (step.op === "ready") makeReady();
          else if (step.op === "answer") {
            // The first of those that reached the worker: it runs them in order.
            const open = current().pushed.find(({ number }) => tasks[number - 1]?.state === "pushed");
            if (told === workers.length - 1 && open !== undefined) c.answer(open.number);
          } else if (step.op === "crash") await crash();
          else if (step.op === "restarting") c.caller.published(stateOf(RESTARTING, workers.length - 1));
          else if (step.op === "alive") publish();
          else if (step.op === "cut") c.net.network.partition("caller", current().host);
          else if (step.op === "heal") c.net.network.heal();
          else await c.clock.advance(step.ms);
        }
        c.net.network.heal();
        makeReady();
        publish();
        for (let round = 0; round < 20 && c.caller.pending > 0; round++) {
          await c.clock.advance(5_000);
          answerAll();
        }
        expect(c.caller.pending).toBe(0);
        expect(tasks.every((task) => task.state === "done")).toBe(true);
        for (const [incarnation, worker] of workers.entries()) {
          for (const pushed of worker.sessions) {
            expect(pushed.map((push) => push.sequence)).toEqual(pushed.map((_push, i) => i));
            expect(pushed.every((push) => push.incarnation === incarnation)).toBe(true); // A3
            expect(pushed.map((push) => push.number)).toEqual(pushed.map((push) => push.number).sort((a, b) => a - b)); // A1
            expect(new Set(pushed.map((push) => push.number)).size).toBe(pushed.length);
          }
        }
        for (const { number } of c.failed) expect(tasks[number - 1]?.retriesLeft).toBe(0); // A2: nobody fails with retries left
        for (const task of tasks) {
          const sent = workers.flatMap((worker) => worker.pushed).filter((push) => push.number === task.number);
          expect(new Set(sent.map((push) => push.attempt)).size).toBe(sent.length); // each attempt leaves once
          const { maxRetries } = task.template.options;
          if (maxRetries >= 0) expect(sent.length).toBeLessThanOrEqual(maxRetries + 1);
        }
      }),
      { numRuns: 200 },
    );
  });
});
