// Edge-table state machines: one discriminated union per life cycle, the legal edges beside it, one function that moves along them.
import { InvariantError } from "./errors.js";

export type Edges<S extends string> = { readonly [K in S]: readonly S[] };

/** Throws InvariantError unless the table has an edge `from → to`. Staying in a state is an edge only if the table says so. */
export function checkEdge<S extends string>(machine: string, edges: Edges<S>, from: S, to: S): void {
  if (!edges[from].includes(to)) throw new InvariantError(`${machine}: no edge ${from} → ${to}`);
}

/** Holds one state string and moves it along the edge table; `onMove` sees every move (log, metrics). */
export class StateMachine<S extends string> {
  private current: S;
  constructor(
    readonly name: string,
    private readonly edges: Edges<S>,
    initial: S,
    private readonly onMove?: (from: S, to: S) => void,
  ) {
    this.current = initial;
  }
  get state(): S {
    return this.current;
  }
  become(to: S): void {
    checkEdge(this.name, this.edges, this.current, to);
    const from = this.current;
    this.current = to;
    this.onMove?.(from, to);
  }
  can(to: S): boolean {
    return this.edges[this.current].includes(to);
  }
}

/** The table as a Mermaid state diagram, for docs/protocols. */
export function mermaidOf<S extends string>(edges: Edges<S>): string {
  const lines = ["stateDiagram-v2"];
  for (const from of Object.keys(edges) as S[]) for (const to of edges[from]) lines.push(`  ${from} --> ${to}`);
  return `${lines.join("\n")}\n`;
}
