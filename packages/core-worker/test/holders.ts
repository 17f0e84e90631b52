// Processes that own objects and pass references to each other, for tests of reference counting: real tables, registrars, borrowers, handovers and
// sessions; values are lists of references. The messages that carry references are the test's own: what gives one away and what takes it has many forms
// (arguments, results, items), and all of them come down to hold, adopt, settle, confirm.
import { type Clock, invariant, type SeededRandom, silentLogger, type Timer } from "@tray/common";
import { type Address, objectIdOf, ObjectPurpose, OwnerService, type NodeAddress } from "@tray/protocol";
import type { Endpoint, FaultPlan } from "@tray/rpc";
import { Borrowers } from "../src/core/borrowers.js";
import { Handovers } from "../src/core/handovers.js";
import type { ObjectEntry } from "../src/core/object-entry.js";
import { ObjectFetcher } from "../src/core/object-fetcher.js";
import { ownerService } from "../src/core/owner-service.js";
import { ReferenceTable } from "../src/core/reference-table.js";
import { Registrar } from "../src/core/registrar.js";
import type { TestNetwork } from "./network.js";

const unused = (): never => {
  throw new Error("not asked in these tests");
};

export class Holder {
  readonly self: Address;
  readonly references: ReferenceTable;
  readonly borrowers: Borrowers;
  readonly handovers: Handovers;
  private readonly registrar: Registrar;
  private readonly fetcher: ObjectFetcher;
  private readonly clock: Clock;
  private readonly endpoint: Endpoint;
  /** Slots by object: its handles here. */
  readonly handles = new Map<string, number[]>();
  alive = true;
  private lastSlot = 0;
  private lastObject = 0;

  constructor(
    private readonly net: TestNetwork,
    readonly name: string,
    graceMs: number,
    faults?: FaultPlan,
  ) {
    this.clock = mortal(net.clock, () => this.alive);
    this.self = { workerId: name, nodeId: `node-${name}`, endpoint: `${name}:1` };
    const node: NodeAddress = { nodeId: this.self.nodeId, raylet: "", bulk: "" };
    this.endpoint = net.endpoint(name, "worker", { faults });
    const peers = net.peers(this.endpoint, 10_000);
    this.references = new ReferenceTable(
      {
        freed: () => undefined,
        returned: (entry) => this.registrar.returned(entry),
        lineageEnded: unused,
        lineageValues: () => undefined,
        streamDropped: unused,
      },
      () => 0,
    );
    this.registrar = new Registrar(
      () => this.references,
      peers,
      this.clock,
      () => node,
    );
    this.fetcher = new ObjectFetcher(this.references, peers, this.clock, silentLogger, {
      raylet: unused,
      self: () => this.self,
      node: () => node,
      missing: unused,
    });
    this.handovers = new Handovers(this.references, this.clock, () => graceMs);
    const gone = (workerId: string): void => this.references.borrowerDied(workerId);
    this.borrowers = new Borrowers({ gone, raylet: unused }, this.clock, silentLogger, () => graceMs);
    this.endpoint.serve(OwnerService, ownerService(this.references, this.borrowers, { missing: unused, isComing: unused, discard: unused }));
    void this.endpoint.listen(this.self.endpoint);
  }

  kill(): void {
    this.alive = false;
    this.net.network.crash(this.name);
    void this.endpoint.close();
  }

  /** An object whose value is references to `inner`, which are held here. */
  put(inner: readonly string[]): string {
    const id = objectIdOf(this.name.padEnd(22, "0") + (++this.lastObject).toString(16).padStart(10, "0"), 0);
    const entry = this.references.own(id, undefined, 0);
    this.bind(entry);
    const contained = inner.map((objectId) => this.entry(objectId));
    const refs = contained.map((e): Ref => ({ id: e.id, owner: e.owner ?? this.self }));
    this.references.resolve(entry, { kind: "value", value: Buffer.from(JSON.stringify(refs)) }, contained);
    return id;
  }
  drop(id: string): void {
    const slots = this.handles.get(id);
    const slot = slots?.pop();
    invariant(slots !== undefined && slot !== undefined, () => `${this.name} has no handle of ${id}`);
    if (slots.length === 0) this.handles.delete(id);
    this.references.releaseSlot(slot);
  }

  /** Gives a reference away; `send` carries messages to the taker and back. */
  pass(id: string, taker: Holder, key: number, send: (to: Holder, arrive: () => void) => void): void {
    const entry = this.entry(id);
    this.handovers.hold(taker, key, [entry]);
    const ref: Ref = { id, owner: entry.owner ?? this.self };
    send(taker, () => {
      taker.adopt(ref);
      const confirm = (): void => {
        if (taker.alive) send(this, () => this.handovers.confirmed(taker, key));
      };
      const settled = taker.registrar.settled();
      if (settled === undefined) confirm();
      else void settled.then(confirm);
    });
  }

  /** Reads an object and takes up the references in its value. */
  async open(id: string): Promise<"opened" | "failed"> {
    const entry = this.entry(id);
    this.references.use(entry); // a get holds what it reads until it has read it
    const located = await this.fetcher.locate(entry, ObjectPurpose.GET);
    if (!this.alive) return "failed";
    if (located.kind === "value") for (const ref of JSON.parse(Buffer.from(located.value).toString()) as Ref[]) this.adopt(ref);
    this.references.unuse(entry);
    return located.kind === "value" ? "opened" : "failed";
  }

  private entry(id: string): ObjectEntry {
    const entry = this.references.get(id);
    invariant(entry !== undefined, () => `${this.name} does not know ${id}`);
    return entry;
  }
  private adopt({ id, owner }: Ref): void {
    if (owner.workerId === this.name) {
      this.bind(this.entry(id)); // in use: it must be there
      return;
    }
    const entry = this.references.borrow(id, owner);
    this.registrar.adopted(entry);
    this.bind(entry);
  }
  private bind(entry: ObjectEntry): void {
    this.references.bind(++this.lastSlot, entry);
    const slots = this.handles.get(entry.id);
    if (slots === undefined) this.handles.set(entry.id, [this.lastSlot]);
    else slots.push(this.lastSlot);
  }
}

interface Ref {
  readonly id: string;
  readonly owner: Address;
}

/** Nothing of a dead process runs any more. */
function mortal(clock: Clock, alive: () => boolean): Clock {
  const living = (fn: () => void) => (): void => {
    if (alive()) fn();
  };
  return {
    now: () => clock.now(),
    wallMs: () => clock.wallMs(),
    after: (delayMs, fn): Timer => clock.after(delayMs, living(fn)),
    every: (periodMs, fn): Timer => clock.every(periodMs, living(fn)),
    endOfTurn: (fn) => clock.endOfTurn(living(fn)),
    soon: (fn) => clock.soon(living(fn)),
  };
}

/** Carries the messages between holders: late, but not lost, also after their sender's death; never to the dead. */
export class Post {
  private open = 0;
  constructor(
    private readonly clock: Clock,
    private readonly random: SeededRandom,
    private readonly delayMsMax: number,
  ) {}
  get underWay(): number {
    return this.open;
  }
  readonly send = (to: Holder, arrive: () => void): void => {
    this.open++;
    this.clock.after(this.random.next() * this.delayMsMax, () => {
      this.open--;
      if (to.alive) arrive();
    });
  };
}
