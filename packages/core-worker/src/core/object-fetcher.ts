// ObjectFetcher: makes an object's value readable in this process, wherever it is.
//
// Owns:     pins given to the user's thread, questions under way to owners.
// Not mine: counts (reference-table.ts), making lost objects again (FetcherHost.lost).
// Crosses:  in: locate, unpin. out: owner.resolve, raylet.getObject / releaseObjects.
//
// Invariants
//   F1. every pin that the raylet gave is released once: by unpin, or here when nobody wants the answer any more.
//   F2. a borrowed object is asked for once at a time; its answer serves all who wait.
import { type Clock, isTrayError, type Logger } from "@tray/common";
import { type Client, type ErrorInfo, type NodeAddress, OwnerService, type RayletService, type ResolveReply } from "@tray/protocol";
import type { Located } from "../thread/to-user.js";
import { errorInfo, errorInfoOf, failureOf } from "./failures.js";
import type { ObjectEntry, ReadyState } from "./object-entry.js";
import type { Peers } from "./peers.js";
import type { ReferenceTable } from "./reference-table.js";

export interface FetcherHost {
  raylet(): Client<typeof RayletService>;
  self(): { workerId: string; nodeId: string; endpoint: string };
  node(): NodeAddress;
  /** Owned object: these nodes turned out not to have it. Makes it again or fails it; either way the entry becomes ready some time. */
  missing(entry: ObjectEntry, nodeIds: readonly string[]): void;
}

interface Pin {
  readonly pinId: number;
  readonly objectId: string;
  readonly offset: number;
}

export class ObjectFetcher {
  private readonly pins = new Map<number, Pin>();
  private readonly asking = new Set<ObjectEntry>();
  private lastPin = 0;
  private releasing: Pin[] = [];

  constructor(
    private readonly references: ReferenceTable,
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly host: FetcherHost,
  ) {}

  get pinCount(): number {
    return this.pins.size;
  }

  /** What can be said without asking anyone. */
  locateNow(entry: ObjectEntry): Located | undefined {
    const { state } = entry;
    if (state.kind === "value") return { kind: "value", value: state.value };
    if (state.kind === "failed") return { kind: "failed", failure: failureOf(state.error) };
    return undefined;
  }

  /** Asks the owner of a borrowed object for its state, unless that is known or being asked. */
  ask(entry: ObjectEntry, missingNodeIds: string[] = []): void {
    const { owner } = entry;
    if (owner === undefined || entry.ready || this.asking.has(entry)) return; // F2
    this.asking.add(entry);
    this.references.use(entry);
    const owned = this.peers.worker(owner.endpoint).client(OwnerService);
    owned
      .resolve({ objectId: entry.id, missingNodeIds }, { timeoutMs: 0, retry: true })
      .then((reply) => this.resolved(entry, reply))
      .catch((error: unknown) => {
        const gone = !isTrayError(error) || error.code === "UNAVAILABLE" || error.code === "CONNECTION";
        const info: ErrorInfo = gone
          ? errorInfo("OWNER_DIED", `object ${entry.id} is lost: its owner (worker ${owner.workerId.slice(0, 8)} at ${owner.endpoint}) died`, {
              details: { ownerWorkerId: owner.workerId, ownerNodeId: owner.nodeId },
            })
          : errorInfoOf(error);
        this.references.resolve(entry, { kind: "failed", error: info });
      })
      .finally(() => {
        this.asking.delete(entry);
        this.references.unuse(entry);
      });
  }

  /** Resolves with where the value can be read here; a stored one is pinned. Never rejects. `onLost`: no copy was found, it has to be made again. */
  async locate(entry: ObjectEntry, onLost?: () => void): Promise<Located> {
    this.references.use(entry);
    try {
      for (;;) {
        if (!entry.ready) {
          this.ask(entry);
          await new Promise<void>((resolve) => this.references.whenReady(entry, () => resolve()));
        }
        const now = this.locateNow(entry);
        if (now !== undefined) return now;
        const { state } = entry;
        if (state.kind !== "stored") continue;
        const stored = await this.fetch(entry, state.size, state.nodes);
        if (stored !== undefined) return stored;
        onLost?.();
      }
    } finally {
      this.references.unuse(entry);
    }
  }

  unpin(pinIds: readonly number[]): void {
    for (const pinId of pinIds) {
      const pin = this.pins.get(pinId);
      if (pin === undefined) continue;
      this.pins.delete(pinId);
      if (this.releasing.length === 0) this.clock.soon(() => this.sendReleases());
      this.releasing.push(pin);
    }
  }

  private async fetch(entry: ObjectEntry, size: number, nodes: readonly NodeAddress[]): Promise<Located | undefined> {
    const self = this.host.self();
    const pinId = ++this.lastPin;
    try {
      const reply = await this.host
        .raylet()
        .getObject(
          { objectId: entry.id, locations: { size, nodes: [...nodes] }, owner: entry.owner ?? self, pin: pinId },
          { timeoutMs: 0, retry: true },
        );
      if (reply.found) {
        if (reply.pulled) this.copied(entry);
        this.pins.set(pinId, { pinId, objectId: entry.id, offset: reply.offset }); // F1
        return { kind: "stored", pinId, offset: reply.offset, size: reply.size };
      }
      const missing = [...new Set([...reply.missingNodeIds, ...nodes.map((n) => n.nodeId)])];
      this.lost(entry, missing);
      return undefined;
    } catch (error) {
      return { kind: "failed", failure: failureOf(errorInfoOf(error)) };
    }
  }

  /** A new copy is on this node. */
  private copied(entry: ObjectEntry): void {
    const here = this.host.node();
    if (entry.owner === undefined) {
      if (entry.state.kind === "stored" && !entry.state.nodes.some((n) => n.nodeId === here.nodeId)) entry.state.nodes.push(here);
      return;
    }
    this.peers.worker(entry.owner.endpoint).client(OwnerService).locationChanged({ objectId: entry.id, added: here, removedNodeId: "" });
  }

  private lost(entry: ObjectEntry, nodeIds: string[]): void {
    if (entry.owner === undefined) {
      this.host.missing(entry, nodeIds);
      return;
    }
    this.references.unresolve(entry);
    this.ask(entry, nodeIds);
  }

  private resolved(entry: ObjectEntry, reply: ResolveReply): void {
    const { state } = reply;
    let ready: ReadyState;
    if (state?.$case === "value") ready = { kind: "value", value: state.value };
    else if (state?.$case === "stored") ready = { kind: "stored", size: state.value.size, nodes: state.value.nodes };
    else ready = { kind: "failed", error: state?.$case === "error" ? state.value : errorInfo("SYSTEM", "the owner answered without a state") };
    this.references.resolve(entry, ready);
  }

  private sendReleases(): void {
    const pins = this.releasing;
    this.releasing = [];
    try {
      this.host
        .raylet()
        .releaseObjects({ objectIds: pins.map((p) => p.objectId), offsets: pins.map((p) => p.offset), pins: pins.map((p) => p.pinId) });
    } catch (error) {
      this.logger.debug("pins not released: the raylet is gone", { error });
    }
  }
}
