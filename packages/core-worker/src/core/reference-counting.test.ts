// Reference counting among several processes: an object in use is never freed, one out of use is always freed, whatever is lost, repeated, late, or dies.
import { SeededRandom } from "@tray/common";
import { FaultPlan } from "@tray/rpc";
import fc from "fast-check";
import { Holder, Post } from "../../test/holders.js";
import { TestNetwork } from "../../test/network.js";

const graceMs = 5_000;
/** Cuts of the network, and words of a death, take less than the grace by far. */
const cutMsMax = 1_500;

type Op =
  | { readonly kind: "put" | "drop" | "open"; readonly who: number; readonly what: number; readonly more: number }
  | { readonly kind: "pass"; readonly who: number; readonly what: number; readonly to: number; readonly keep: boolean; readonly dies: number | null }
  | { readonly kind: "kill"; readonly who: number; readonly ms: number }
  | { readonly kind: "cut" | "break"; readonly who: number; readonly to: number; readonly ms: number }
  | { readonly kind: "time"; readonly ms: number };

const who = fc.nat({ max: 3 });
/** Of what a process holds, counted from the newest. */
const nat = fc.oneof(fc.constant(0), fc.nat({ max: 20 }));
const ms = fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 50 }), fc.nat({ max: 1_000 }));
const dies = fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat({ max: 30 }) });
const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("put", "put", "drop", "open" as const), who, what: nat, more: nat }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant("pass" as const), who, what: nat, to: who, keep: fc.boolean(), dies }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("kill" as const), who, ms }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("cut", "break" as const), who, to: who, ms: fc.nat({ max: cutMsMax }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("time" as const), ms }) },
);

/** What the network does to every call, and how late the word of a death comes at most. */
interface Faults {
  readonly lost: number;
  readonly duplicates: number;
  readonly wordMs: number;
}
const faults: fc.Arbitrary<Faults> = fc.record({
  lost: fc.constantFrom(0, 0.2, 0.5),
  duplicates: fc.constantFrom(0, 0.2),
  wordMs: fc.constantFrom(2, 50, 300),
});

class World {
  readonly net: TestNetwork;
  readonly holders: Holder[] = [];
  private readonly random: SeededRandom;
  private readonly post: Post;
  private readonly inner = new Map<string, readonly string[]>();
  private readonly owners = new Map<string, Holder>();
  private opening = 0;
  private passes = 0;

  private readonly plan: FaultPlan;
  private readonly deaths = [0, 0, 0, 0];

  constructor(
    seed: number,
    private readonly faults: Faults,
  ) {
    this.net = new TestNetwork(seed);
    this.random = new SeededRandom(seed);
    this.post = new Post(this.net.clock, this.random, 20);
    this.net.network.duplicateChance = faults.duplicates;
    this.plan = new FaultPlan(new Map([["*", { requestLost: faults.lost / 2, replyLost: faults.lost / 2, delayMs: [0, 10] }]]));
    for (let at = 0; at < this.deaths.length; at++) this.replace(at);
  }
  /** The next process at a place. */
  private replace(at: number): void {
    this.holders[at] = new Holder(this.net, `${"abcd"[at]}${this.deaths[at]}`, graceMs, this.plan);
  }

  async do(op: Op): Promise<void> {
    if (op.kind === "time") return await this.pass(op.ms);
    // Of those that hold something, while there are any: most of them hold nothing, most of the time.
    const having = this.holders.filter((each) => each.handles.size > 0);
    const holder = (having.length > 0 && op.kind !== "put" ? having[op.who % having.length] : this.holders[op.who]) as Holder;
    const held = [...holder.handles.keys()].toReversed();
    switch (op.kind) {
      case "put": {
        const inside = held.length === 0 ? [] : [...new Set([held[op.what % held.length], held[op.more % held.length]])].slice(0, op.more % 3);
        const id = holder.put(inside as string[]);
        this.owners.set(id, holder);
        this.inner.set(id, inside as string[]);
        return;
      }
      case "drop":
        if (held.length > 0) holder.drop(held[op.what % held.length] as string);
        return;
      case "open": {
        const id = held[op.what % held.length];
        // What was in an object goes some time after its owner.
        if (id === undefined || this.owners.get(id)?.alive !== true) return;
        this.opening++;
        void holder.open(id).then((outcome) => {
          this.opening--;
          if (outcome === "failed" && holder.alive && this.owners.get(id)?.alive === true) this.violations.push(`${holder.name} cannot read ${id}`);
        });
        return;
      }
      case "pass": {
        const [id, taker] = [held[op.what % held.length], this.holders[op.to] as Holder];
        if (id === undefined || taker === holder) return;
        holder.pass(id, taker, ++this.passes, this.post.send);
        if (!op.keep) holder.drop(id);
        if (op.dies !== null) this.die(this.holders.indexOf(holder), op.dies);
        return;
      }
      case "kill":
        this.die(this.holders.indexOf(holder), op.ms);
        return;
      case "cut":
      case "break": {
        const other = this.holders[op.to] as Holder;
        if (other === holder) return;
        if (op.kind === "break") this.net.network.breakLinks(holder.name, other.name);
        else {
          this.net.network.partition(holder.name, other.name);
          this.net.clock.after(op.ms, () => this.net.network.heal(holder.name, other.name));
        }
      }
    }
  }

  private die(at: number, ms: number): void {
    const holder = this.holders[at] as Holder;
    this.net.clock.after(ms, () => {
      if (!holder.alive) return;
      holder.kill();
      this.deaths[at] = (this.deaths[at] as number) + 1;
      this.replace(at);
      for (const other of this.holders) {
        // By different ways: the GCS, and the session with it.
        this.net.clock.after(this.random.next() * this.faults.wordMs, () => other.borrowers.workerDied(holder.name, false));
        this.net.clock.after(this.random.next() * this.faults.wordMs, () => other.handovers.lost(holder));
      }
    });
  }

  readonly violations: string[] = [];

  /** Often none at all: then only what is due happens between two operations. */
  moment(): Promise<void> {
    return this.pass(Math.max(0, this.random.next() * 20 - 10));
  }

  /** Lets time pass and looks at every change. */
  async pass(ms: number): Promise<void> {
    const { clock } = this.net;
    const end = clock.now() + ms;
    do {
      await clock.advance(Math.min(2, Math.max(0, end - clock.now())));
      this.checkInUse();
    } while (clock.now() < end);
  }

  /** Everything that was begun has happened. */
  async quiet(): Promise<void> {
    await this.net.clock.advance(3 * graceMs + cutMsMax);
    await this.net.clock.runUntil(() => this.opening === 0 && this.post.underWay === 0);
    await this.net.clock.advance(3 * graceMs);
  }

  private reachable(): Set<string> {
    const reached = new Set<string>();
    const visit = (id: string): void => {
      if (reached.has(id) || this.owners.get(id)?.alive !== true) return; // lost with its owner, and what is in it let go
      reached.add(id);
      for (const inner of this.inner.get(id) ?? []) visit(inner);
    };
    for (const holder of this.holders) for (const id of holder.handles.keys()) visit(id);
    return reached;
  }

  checkInUse(): void {
    for (const id of this.reachable()) {
      const kind = this.owners.get(id)?.references.get(id)?.state.kind;
      if (kind !== "value") this.violations.push(`${id} is in use and ${kind ?? "gone"} at ${this.net.clock.now()} ms`);
    }
    if (this.violations.length > 0) throw new Error(this.violations.join("\n"));
  }

  /** Owners know what is in use and nothing else; nobody else knows more than it holds. */
  checkOutOfUse(): void {
    const reachable = this.reachable();
    for (const holder of this.holders) {
      const expected = new Set(holder.handles.keys());
      for (const id of reachable) {
        if (this.owners.get(id) !== holder) continue;
        expected.add(id);
        for (const inner of this.inner.get(id) ?? []) expected.add(inner);
      }
      expect([holder.name, [...holder.references.all()].map(({ id }) => id).sort()]).toEqual([holder.name, [...expected].sort()]);
      expect([holder.name, holder.handovers.count]).toEqual([holder.name, 0]);
    }
  }
}

/** Loses what is told it to, while it is told to. */
class Loss extends FaultPlan {
  lose: "request" | "reply" | undefined;
  constructor() {
    super(new Map());
  }
  override draw(): ReturnType<FaultPlan["draw"]> {
    return this.lose === undefined ? undefined : { lose: this.lose, delayMs: 0 };
  }
}

describe("reference counting among processes", () => {
  it.each(["request", "reply"] as const)(
    "double borrowing: the object outlives its givers though every registration's %s is lost for a while",
    async (lose) => {
      const net = new TestNetwork();
      const { clock } = net;
      const post = new Post(clock, new SeededRandom(1), 1);
      const losses = [new Loss(), new Loss()] as const;
      const owner = new Holder(net, "a0", graceMs);
      const [giver, taker] = [new Holder(net, "b0", graceMs, losses[0]), new Holder(net, "c0", graceMs, losses[1])];
      const id = owner.put([owner.put([])]);
      const freed = (): boolean => owner.references.get(id) === undefined;
      for (const loss of losses) loss.lose = lose;
      owner.pass(id, giver, 1, post.send);
      for (const held of [...owner.handles.keys()]) owner.drop(held);
      await clock.runUntil(() => giver.handles.has(id));
      giver.pass(id, taker, 1, post.send);
      giver.drop(id);
      await clock.runUntil(() => taker.handles.has(id));
      expect([freed(), owner.handovers.count, giver.handovers.count]).toEqual([false, 1, 1]); // neither has been confirmed
      giver.kill();
      owner.handovers.lost(giver);
      owner.borrowers.workerDied("b0", false);
      await clock.advance(graceMs - 500);
      expect(freed()).toBe(false);
      losses[1].lose = undefined;
      await clock.advance(4 * graceMs);
      expect(freed()).toBe(false);
      expect(await clock.complete(taker.open(id))).toBe("opened");
      for (const held of [...taker.handles.keys()]) taker.drop(held);
      await clock.advance(graceMs);
      expect([owner, taker].map(({ references, handovers }) => [references.size, handovers.count])).toEqual([
        [0, 0],
        [0, 0],
      ]);
    },
  );

  it("an object in use is never freed, one out of use is always freed, everywhere", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 50, maxLength: 150, size: "max" }), fc.nat(), faults, async (ops, seed, how) => {
        const world = new World(seed, how);
        for (const one of ops) {
          await world.do(one);
          await world.moment();
        }
        await world.quiet();
        world.checkInUse();
        world.checkOutOfUse();
        for (const holder of world.holders) for (const [id, slots] of [...holder.handles]) for (const _ of [...slots]) holder.drop(id);
        await world.quiet();
        world.checkOutOfUse();
        for (const holder of world.holders) expect(holder.references.size).toBe(0);
      }),
      { numRuns: Number(process.env["TRAY_PROPERTY_RUNS"] ?? 100) },
    );
  }, 120_000);
});
