// The life of actors against a model of processes: raylets that create, refuse, lose and kill, in any order.
import { ActorSpec, ActorState, WorkerExit } from "@tray/protocol";
import fc from "fast-check";
import { ActorsCore } from "./core.js";
import { stateNameOf } from "./states.js";
import type { ActorSend, ActorStep } from "./step.js";

const spec = (actorId: string, more: Partial<ActorSpec> = {}): ActorSpec => ActorSpec.create({ actorId, jobId: "j", className: "C", ...more });

type Op =
  | { op: "register"; actor: number; name: number; detached: boolean; maxRestarts: number }
  | { op: "place"; node: number }
  | { op: "deliver"; pick: number; how: "create" | "reject" | "throw" | "repeat" }
  | { op: "crash"; pick: number; intended: boolean }
  | { op: "kill"; actor: number; noRestart: boolean; outOfScope: boolean }
  | { op: "nodeDies"; node: number }
  | { op: "jobEnds" };

const ops: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    op: fc.constant("register" as const),
    actor: fc.nat(4),
    name: fc.nat(2),
    detached: fc.boolean(),
    maxRestarts: fc.integer({ min: -1, max: 2 }),
  }),
  { weight: 3, arbitrary: fc.record({ op: fc.constant("place" as const), node: fc.nat(3) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant("deliver" as const),
      pick: fc.nat(20),
      how: fc.constantFrom("create" as const, "create" as const, "reject" as const, "throw" as const, "repeat" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("crash" as const), pick: fc.nat(20), intended: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("kill" as const), actor: fc.nat(4), noRestart: fc.boolean(), outOfScope: fc.boolean() }) },
  fc.record({ op: fc.constant("nodeDies" as const), node: fc.nat(3) }),
  fc.record({ op: fc.constant("jobEnds" as const) }),
);

interface Process {
  actorId: string;
  incarnation: number;
  nodeId: string;
}

class Model {
  readonly core = new ActorsCore(3, () => 1);
  readonly orders: Extract<ActorSend, { kind: "create" | "kill" }>[] = [];
  processes: Process[] = [];
  readonly deadNodes = new Set<string>();
  private readonly everDead = new Set<string>();
  private readonly stored = new Map<string, ActorState>();

  apply(step: ActorStep): void {
    for (const info of step.persist) {
      expect(this.stored.get(info.actorId)).not.toBe(ActorState.DEAD); // A4
      this.stored.set(info.actorId, info.state);
    }
    for (const id of step.forget) this.stored.delete(id);
    for (const send of step.then) {
      if (send.kind === "publish") expect(step.persist.length).toBeGreaterThan(0); // nothing is told that is not stored
      if (send.kind === "create") {
        // A3: whoever lived before is gone.
        expect(this.processes.filter((p) => p.actorId === send.actorId && p.incarnation !== send.incarnation)).toEqual([]);
      }
      if (send.kind === "create" || send.kind === "kill") this.orders.push(send);
    }
    this.check();
  }

  check(): void {
    const names = new Map<string, string>();
    const waiting = new Set(this.core.waiting());
    for (const { info, phase } of this.core.all()) {
      const state = stateNameOf(info.state);
      const max = info.spec?.maxRestarts ?? 0;
      if (max !== -1) expect(info.numRestarts).toBeLessThanOrEqual(max); // A5
      expect(phase.kind === "dead").toBe(state === "DEAD");
      expect(phase.kind === "alive").toBe(state === "ALIVE");
      expect(waiting.has(info.actorId)).toBe(phase.kind === "waiting");
      if (state === "DEAD") this.everDead.add(info.actorId);
      else expect(this.everDead.has(info.actorId)).toBe(false); // A4
      const name = info.spec?.name ?? "";
      if (state !== "DEAD" && name !== "") {
        expect(names.get(name)).toBeUndefined(); // A1
        names.set(name, info.actorId);
        expect(this.core.named("", name)?.info.actorId).toBe(info.actorId);
      }
    }
    for (const name of ["n1", "n2"]) expect(this.core.named("", name)?.phase.kind).not.toBe("dead"); // A1
    // One acknowledged copy: at most one process is the chosen one.
    for (const { info, phase } of this.core.all()) {
      if (phase.kind !== "alive") continue;
      expect(
        this.processes.filter((p) => p.actorId === info.actorId && p.incarnation === info.incarnation && p.nodeId === info.nodeId).length,
      ).toBeLessThanOrEqual(1);
    }
  }

  deliver(pick: number, how: "create" | "reject" | "throw" | "repeat"): void {
    const order = this.orders[pick % Math.max(1, this.orders.length)];
    if (order === undefined) return;
    if (how !== "repeat") this.orders.splice(this.orders.indexOf(order), 1);
    const { actorId, incarnation, nodeId } = order;
    if (order.kind === "kill") {
      this.processes = this.processes.filter((p) => !(p.actorId === actorId && p.incarnation === incarnation && p.nodeId === nodeId));
      if (!this.deadNodes.has(nodeId) && incarnation >= 0)
        this.apply(this.core.workerDied({ exit: exitOn(nodeId), actorId, incarnation, intended: true, wasDriver: false }));
      if (order.release) this.apply(this.core.released(actorId, incarnation + 1));
      return;
    }
    const record = this.core.get(actorId);
    // The shell asks before every attempt whether the order still stands.
    const stands = record?.phase.kind === "creating" && record.info.incarnation === incarnation && record.info.nodeId === nodeId;
    if (!stands || this.deadNodes.has(nodeId)) return;
    if (how === "reject" || how === "throw") {
      const error = { code: "TASK_ERROR", message: "no", hint: "", detailsJson: "", cause: Buffer.alloc(0) };
      this.apply(this.core.creationFailed({ actorId, incarnation, error, rejected: how === "reject" }, nodeId, () => 0));
      return;
    }
    if (!this.processes.some((p) => p.actorId === actorId && p.incarnation === incarnation && p.nodeId === nodeId))
      this.processes.push({ actorId, incarnation, nodeId });
    this.apply(this.core.created({ actorId, incarnation, address: { workerId: "w", nodeId, endpoint: "" }, pid: 1 }));
  }

  run(op: Op): void {
    switch (op.op) {
      case "register": {
        const id = `x${op.actor}`;
        if (this.everDead.has(id)) return; // ids are not used again
        this.apply(
          this.core.register(spec(id, { name: op.name === 0 ? "" : `n${op.name}`, detached: op.detached, maxRestarts: op.maxRestarts }), false).step,
        );
        return;
      }
      case "place": {
        const [actorId] = this.core.waiting();
        if (actorId !== undefined && !this.deadNodes.has(`n${op.node}`)) this.apply(this.core.placed(actorId, `n${op.node}`));
        return;
      }
      case "deliver":
        this.deliver(op.pick, op.how);
        return;
      case "crash": {
        const process = this.processes[op.pick % Math.max(1, this.processes.length)];
        if (process === undefined) return;
        this.processes = this.processes.filter((p) => p !== process);
        this.apply(
          this.core.workerDied({
            exit: exitOn(process.nodeId),
            actorId: process.actorId,
            incarnation: process.incarnation,
            intended: op.intended,
            wasDriver: false,
          }),
        );
        return;
      }
      case "kill":
        this.apply(this.core.kill({ actorId: `x${op.actor}`, noRestart: op.noRestart, outOfScope: op.outOfScope, reason: "" }));
        return;
      case "nodeDies": {
        const nodeId = `n${op.node}`;
        if (this.deadNodes.size === 3 || this.deadNodes.has(nodeId)) return;
        this.deadNodes.add(nodeId);
        this.processes = this.processes.filter((p) => p.nodeId !== nodeId);
        this.apply(this.core.nodeDied(nodeId, "test"));
        return;
      }
      case "jobEnds":
        this.apply(this.core.jobFinished("j"));
    }
  }
}

const exitOn = (nodeId: string): WorkerExit => WorkerExit.create({ workerId: "w", nodeId });

describe("ActorsCore", () => {
  it("keeps its invariants in any order of events, and settles when everything is delivered", () => {
    fc.assert(
      fc.property(fc.array(ops, { maxLength: 120, size: "max" }), (sequence) => {
        const model = new Model();
        for (const op of sequence) model.run(op);
        // Liveness: with a living node and every order carried out, every actor ends up alive or dead, and no process is left that nobody knows.
        const home = [0, 1, 2, 3].find((n) => !model.deadNodes.has(`n${n}`)) as number;
        for (let i = 0; i < 500 && (model.orders.length > 0 || model.core.waiting().length > 0); i++) {
          model.run({ op: "place", node: home });
          model.deliver(0, "create");
        }
        const known = [...model.core.all()];
        expect(known.filter((r) => r.phase.kind !== "alive" && r.phase.kind !== "dead")).toEqual([]);
        const alive = known.filter((r) => r.phase.kind === "alive").map((r) => `${r.info.actorId}/${r.info.incarnation}/${r.info.nodeId}`);
        expect(model.processes.map((p) => `${p.actorId}/${p.incarnation}/${p.nodeId}`).sort()).toEqual(alive.sort());
      }),
      { numRuns: 150 },
    );
  });

  it("has a copy killed that nobody chose", () => {
    const core = new ActorsCore(10, () => 1);
    core.register(spec("x"), false);
    core.placed("x", "a");
    const stray = core.created({ actorId: "x", incarnation: 0, address: { workerId: "w", nodeId: "b", endpoint: "" }, pid: 1 });
    expect(stray.then).toMatchObject([{ kind: "kill", nodeId: "b", incarnation: 0 }]);
    expect(core.get("x")?.phase.kind).toBe("creating");
  });

  it("replays what was stored", () => {
    const core = new ActorsCore(10, () => 1);
    const steps = [
      core.register(spec("x", { name: "n" }), false).step,
      core.placed("x", "a"),
      core.register(spec("y"), false).step,
      core.kill({ actorId: "y", noRestart: true, outOfScope: false, reason: "" }),
    ];
    const rows = new Map(steps.flatMap((step) => step.persist).map((info) => [info.actorId, info]));
    const again = new ActorsCore(10, () => 2);
    again.replay(rows.values(), new Map());
    expect([again.get("x")?.phase.kind, again.get("y")?.phase.kind, again.named("", "n")?.info.actorId, again.waiting()]).toEqual([
      "creating",
      "dead",
      "x",
      [],
    ]);
    expect(again.resume("a").then).toMatchObject([{ kind: "create", actorId: "x", incarnation: 0 }]);
  });
});
