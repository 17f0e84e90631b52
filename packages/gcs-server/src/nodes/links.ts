// NodeLinks: the session of each living node, and messages that must reach it.
//
// Owns:     which session is a node's present one, deliveries that wait for a node to come (back).
// Not mine: whether a node lives (core.ts); it is told of trouble and of deaths.
//
// Invariants
//   L1. A node's present session is the one on which it registered last.
//   L2. A delivery ends by an answer, by an error of the handler, because nobody wants it any more, or by the node's death: never by a broken session.
import { type Clock, type Deferred, deferred, isTrayError, sleep } from "@tray/common";
import { type CallOptions, type Client, NodeService } from "@tray/protocol";
import type { Session } from "@tray/rpc";

export type NodeClient = Client<typeof NodeService>;
/** `refused`: the handler answered with an error. `gone`: the node is dead, or nobody wants it any more. */
export type Delivery = { readonly outcome: "answered" } | { readonly outcome: "refused"; readonly error: unknown } | { readonly outcome: "gone" };

const nodeOfSession = Symbol("gcs.node");

export class NodeLinks {
  private readonly sessions = new Map<string, Session>();
  private readonly changes = new Map<string, Deferred<void>>();

  constructor(
    private readonly clock: Clock,
    private readonly options: {
      retryMs: number;
      signal: AbortSignal;
      isAlive: (nodeId: string) => boolean;
      /** The node's session broke or was lost: it may be dead. */
      onTrouble: (nodeId: string, session: Session) => void;
    },
  ) {}

  /** @returns whether this session is new to the node: it knows nothing of what was sent before. */
  attach(nodeId: string, session: Session): boolean {
    if (this.sessions.get(nodeId) === session) return false;
    this.sessions.set(nodeId, session); // L1
    if (session.local.get(nodeOfSession) !== nodeId) {
      session.local.set(nodeOfSession, nodeId);
      session.onBroken(() => this.trouble(nodeId, session));
      session.onLost(() => {
        this.trouble(nodeId, session);
        if (this.sessions.get(nodeId) === session) this.sessions.delete(nodeId);
      });
    }
    this.changed(nodeId);
    return true;
  }
  /** The node that registered on this session. */
  nodeOf(session: Session): string | undefined {
    return session.local.get(nodeOfSession) as string | undefined;
  }
  /** The node is dead. */
  forget(nodeId: string): void {
    this.sessions.delete(nodeId);
    this.changed(nodeId);
  }
  session(nodeId: string): Session | undefined {
    return this.sessions.get(nodeId);
  }
  client(nodeId: string): NodeClient | undefined {
    return this.sessions.get(nodeId)?.client(NodeService);
  }
  /** Those that can be told something now. */
  *clients(): Iterable<[nodeId: string, client: NodeClient]> {
    for (const [nodeId, session] of this.sessions) yield [nodeId, session.client(NodeService)];
  }

  /** L2. `calledOff` aborts when it is not wanted any more: a request that has not left by then never does. */
  async deliver(
    nodeId: string,
    wanted: () => boolean,
    send: (client: NodeClient, options: CallOptions) => Promise<unknown>,
    calledOff?: AbortSignal,
  ): Promise<Delivery> {
    const closing = this.options.signal;
    const signal = calledOff === undefined ? closing : AbortSignal.any([closing, calledOff]);
    for (;;) {
      if (signal.aborted || !this.options.isAlive(nodeId) || !wanted()) return { outcome: "gone" };
      const client = this.client(nodeId);
      if (client === undefined) {
        await this.nextChange(nodeId);
        continue;
      }
      try {
        await send(client, { signal });
        return { outcome: "answered" };
      } catch (error) {
        if (signal.aborted) return { outcome: "gone" };
        const again = isTrayError(error, "UNAVAILABLE") || isTrayError(error, "DEADLINE_EXCEEDED") || isTrayError(error, "RESOURCE_EXHAUSTED");
        if (!again) return { outcome: "refused", error };
        await sleep(this.clock, this.options.retryMs, signal).catch(() => undefined); // the loop ends
      }
    }
  }

  private trouble(nodeId: string, session: Session): void {
    if (this.sessions.get(nodeId) === session) this.options.onTrouble(nodeId, session);
  }
  private nextChange(nodeId: string): Promise<void> {
    let change = this.changes.get(nodeId);
    if (change === undefined) this.changes.set(nodeId, (change = deferred()));
    return change.promise;
  }
  private changed(nodeId: string): void {
    const change = this.changes.get(nodeId);
    this.changes.delete(nodeId);
    change?.resolve();
  }
  /** Lets go of every delivery that waits; the signal must have aborted. */
  close(): void {
    for (const nodeId of [...this.changes.keys()]) this.changed(nodeId);
  }
}
