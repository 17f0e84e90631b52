import fc from "fast-check";
import { InvariantError } from "./errors.js";
import { checkEdge, type Edges, mermaidOf, StateMachine } from "./fsm.js";

type Phase = "idle" | "running" | "done";
const edges: Edges<Phase> = { idle: ["running", "done"], running: ["idle", "done"], done: [] };

describe("StateMachine", () => {
  it("moves along edges and tells each move once", () => {
    const moves: string[] = [];
    const machine = new StateMachine<Phase>("phase", edges, "idle", (from, to) => moves.push(`${from}→${to}`));
    machine.become("running");
    machine.become("done");
    expect(machine.state).toBe("done");
    expect(moves).toEqual(["idle→running", "running→done"]);
  });

  it("refuses what the table does not have, staying included, and stays as it was", () => {
    const moves: string[] = [];
    const machine = new StateMachine<Phase>("phase", edges, "idle", (from, to) => moves.push(`${from}→${to}`));
    expect(() => machine.become("idle")).toThrow(new InvariantError("phase: no edge idle → idle"));
    machine.become("done");
    expect(() => machine.become("running")).toThrow(InvariantError);
    expect(machine.state).toBe("done");
    expect(moves).toEqual(["idle→done"]);
  });

  it("answers can() exactly as become() acts", () => {
    const phase = fc.constantFrom<Phase>("idle", "running", "done");
    fc.assert(
      fc.property(phase, fc.array(phase, { maxLength: 10 }), (initial, steps) => {
        const machine = new StateMachine<Phase>("phase", edges, initial);
        for (const to of steps) {
          const allowed = machine.can(to);
          expect(allowed).toBe(edges[machine.state].includes(to));
          if (allowed) machine.become(to);
          else expect(() => machine.become(to)).toThrow(InvariantError);
        }
      }),
    );
  });

  it("checks single edges by name", () => {
    expect(() => checkEdge("phase", edges, "idle", "running")).not.toThrow();
    expect(() => checkEdge("phase", edges, "done", "idle")).toThrow("phase: no edge done → idle");
  });

  it("draws the table", () => {
    expect(mermaidOf(edges)).toBe("stateDiagram-v2\n  idle --> running\n  idle --> done\n  running --> idle\n  running --> done\n");
  });
});
