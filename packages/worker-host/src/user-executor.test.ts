import { type Deferred, deferred, SimClock } from "@tray/common";
import { claimSlots, type ExecActor, type ExecTemplate, type Located, openClaim, outcomes, Runtime, type ToCore, winClaim } from "@tray/core-worker";
import { Codec, createModuleHost, flatten } from "@tray/serialization";
import { channel } from "node:diagnostics_channel";
import { basename } from "node:path";
import { UserExecutor } from "./user-executor.js";

type Arena = ConstructorParameters<typeof Runtime>[3];

/** Notes what an execution says to the core thread. */
class Core {
  readonly finished: [execId: number, outcome: number][] = [];
  readonly unpinned: number[] = [];
  readonly port = {
    finished: (execId: number, outcome: number) => void this.finished.push([execId, outcome]),
    unpin: (pinIds: readonly number[]) => void this.unpinned.push(...pinIds),
  } as unknown as ToCore;
}

/** Shipped code runs in a realm of its own under Jest; built-in modules are the same in both. */
const spoken = channel("tray.user-executor.test");
let told: unknown[] = [];
let answer: () => unknown = () => undefined;
spoken.subscribe((message) => told.push(message ?? answer()));
const sender = new Codec({ modules: createModuleHost({ workingDir: __dirname }) });
const connection = {
  jobId: "",
  namespace: "",
  workerId: "w".repeat(32),
  nodeId: "n",
  endpoint: "",
  gcsAddress: "",
  sessionDir: "",
  maxInlineBytes: 1024,
};
const template: ExecTemplate = {
  jobId: "01000000",
  namespace: "",
  functionId: "f",
  name: "f",
  numReturns: 1,
  taskPrefix: "",
  actorId: "",
  method: "",
  concurrencyGroup: "",
  retryClassesId: "",
  callerWorkerId: "",
  resources: {},
  workingDir: "",
  streaming: false,
  backpressure: 0,
};
const noArgs = flatten(sender.serialize([]));

class Worker {
  readonly core = new Core();
  readonly clock = new SimClock();
  readonly claims = new Int32Array(claimSlots);
  readonly executor: UserExecutor;
  /** Of any package, in which any name stands for a function that leaves a trace. */
  readonly loading: Deferred<void> = deferred<void>();

  constructor() {
    const memory = Buffer.alloc(1 << 20);
    const arena = { write: (offset: number, length: number) => memory.subarray(offset, offset + length) } as unknown as Arena;
    const host = createModuleHost({ workingDir: __dirname });
    host.prepare = () => this.loading.promise;
    const binding = host.binding.bind(host);
    host.binding = (ref, name) => (ref.kind === "package" ? () => told.push("ran") : binding(ref, name));
    const threadChannel = { ref: () => undefined, unref: () => undefined, blockAndDrain: () => undefined };
    const runtime = new Runtime(this.core.port, threadChannel as never, new Codec({ modules: host }), arena, this.clock, connection);
    this.executor = new UserExecutor(() => runtime, this.claims, {
      joinJob: () => undefined,
      replaceWorker: () => undefined,
      ended: () => undefined,
    });
    this.executor.execTemplate(1, template);
  }

  load(fn: Function, codec = sender): void {
    this.executor.loadFunction("f", codec.serializeFunction(fn, { held: [] }).blob);
  }
  /** Hands over a task whose argument is pinned in the arena. */
  hand(execId: number): number {
    const slot = openClaim(this.claims, execId);
    const pinned: Located = { kind: "stored", pinId: 100 + execId, offset: 0, size: 64 };
    this.executor.execute(execId, slot, 1, execId, 0, noArgs, [pinned]);
    return slot;
  }
  async settle(): Promise<void> {
    this.executor.pump();
    await new Promise((resolve) => setImmediate(resolve));
    await this.clock.advance(10);
  }
}

beforeEach(() => {
  told = [];
});

describe("UserExecutor", () => {
  it("X1: what was taken back says nothing; its pins are the core thread's", async () => {
    const worker = new Worker();
    worker.load(() => channel("tray.user-executor.test").publish("ran"));
    const slot = worker.hand(1);
    expect(winClaim(worker.claims, slot, 1)).toBe(true);
    await worker.settle();
    expect(worker.core).toMatchObject({ finished: [], unpinned: [] }); // the core thread has given them back
    expect(told).toEqual([]);
  });

  it("X4: a task whose function cannot be read fails and gives its pins back", async () => {
    const worker = new Worker();
    worker.hand(1); // no function was loaded
    await worker.settle();
    expect(worker.core).toMatchObject({ finished: [[1, outcomes.error]], unpinned: [101] });
  });

  it("X3, X4: a task that is cancelled while its modules load is not run when they are there", async () => {
    const worker = new Worker();
    const host = createModuleHost({ workingDir: __dirname });
    host.referToImport = (specifier) => ({ kind: "package", specifier, from: "", loader: "import" });
    worker.load(basename, new Codec({ modules: host })); // travels by its name
    worker.hand(1);
    await worker.settle();
    expect(worker.core.finished).toEqual([]);
    worker.executor.cancelExec(1);
    worker.loading.resolve();
    await worker.settle();
    expect(worker.core).toMatchObject({ finished: [[1, outcomes.cancelled]], unpinned: [101] });
    expect(told).toEqual([]);
  });

  it.each([1, 2])("the constructor of an actor with maxConcurrency %d knows whose it is", async (maxConcurrency) => {
    const worker = new Worker();
    answer = () => worker.executor.context?.actorId;
    worker.load(
      class A {
        constructor() {
          channel("tray.user-executor.test").publish(undefined);
        }
      },
    );
    const spec: ExecActor = {
      actorId: "a1",
      jobId: "01000000",
      namespace: "",
      name: "",
      className: "A",
      functionId: "f",
      maxConcurrency,
      concurrencyGroups: {},
      incarnation: 0,
      resources: {},
      workingDir: "",
    };
    worker.executor.becomeActor(1, spec, noArgs, []);
    await worker.settle();
    expect(worker.core.finished).toEqual([[1, outcomes.ok]]);
    expect(told).toEqual(["a1"]);
    expect(worker.executor.context).toBeUndefined();
  });
});
