// Borrowers: the processes that borrow objects of this one, and which of them are dead.
//
// Owns:     where each borrower runs; ids of the dead, to refuse what they sent before they died.
// Not mine: which object has which borrowers (reference-table.ts), hearing of deaths (gcs-link.ts).
// Crosses:  in: seen, workerDied, nodeDied, verify. out: BorrowersHost.
//
// Invariants
//   W1. a borrower that is dead is told once as gone, and never counts again: not by a registration that was still under way when it died.
//   W3. it is told `graceMs` after its death: processes that it passed a reference on to may still be telling us (docs/decisions/0009). One that left in
//       order had waited for them.
//   W2. a death whose publication was missed, since the GCS was away, is found out by asking the borrower's node.
import { type Clock, isTrayError, type Logger, messageOf } from "@tray/common";
import type { Client, NodeAddress, RayletService } from "@tray/protocol";
import { leftInOrder } from "./failures.js";

export interface BorrowersHost {
  /** It holds nothing any more. */
  gone(workerId: string): void;
  raylet(address: string): Client<typeof RayletService>;
}

/** Dead workers, and dead nodes, that are remembered, of each. */
const deadMax = 1000;
/** A worker whose node has not told of its end for so long is alive. */
const answerWithinMs = 2000;

export class Borrowers {
  /** Undefined: a driver, whose end ends its job and with it all who could own something of it. */
  private readonly nodes = new Map<string, NodeAddress | undefined>();
  private readonly deadWorkers = new Set<string>();
  private readonly deadNodes = new Set<string>();

  constructor(
    private readonly host: BorrowersHost,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly graceMs: () => number,
  ) {}

  /** It wants to borrow. False: it is dead (W1). */
  seen(workerId: string, node: NodeAddress | undefined, isDriver: boolean): boolean {
    if (this.deadWorkers.has(workerId) || (node !== undefined && this.deadNodes.has(node.nodeId))) return false;
    this.nodes.set(workerId, isDriver ? undefined : node);
    return true;
  }

  /** @param inOrder it had passed on nothing that its taker had not confirmed. */
  workerDied(workerId: string, inOrder: boolean): void {
    remember(this.deadWorkers, workerId);
    if (this.nodes.delete(workerId)) this.clock.after(inOrder ? 0 : this.graceMs(), () => this.host.gone(workerId)); // W3
  }

  nodeDied(nodeId: string): void {
    remember(this.deadNodes, nodeId);
    for (const [workerId, node] of [...this.nodes]) if (node?.nodeId === nodeId) this.workerDied(workerId, false);
  }

  /** W2 */
  verify(): void {
    for (const [workerId, node] of this.nodes) {
      if (node === undefined) continue;
      this.host
        .raylet(node.raylet)
        .workerFailure({ workerId }, { timeoutMs: answerWithinMs, retry: true })
        .then(
          ({ exit }) => this.workerDied(workerId, exit !== undefined && leftInOrder(exit)), // how, or that no such worker runs there any more
          (error: unknown) => {
            // It lives, or its node cannot be reached: then the death of the node is told.
            if (!isTrayError(error)) this.logger.warn("a borrower could not be asked for", { workerId, error: messageOf(error) });
          },
        );
    }
  }
}

function remember(set: Set<string>, id: string): void {
  set.add(id);
  if (set.size <= deadMax) return;
  for (const oldest of set) {
    set.delete(oldest);
    return;
  }
}
