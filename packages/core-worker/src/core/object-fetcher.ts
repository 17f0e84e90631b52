// ObjectFetcher: makes an object's value readable in this process, wherever it is.
//
// Owns:     pins given to the user's thread, questions under way to owners.
// Not mine: counts (reference-table.ts), making lost objects again (FetcherHost.lost).
// Crosses:  in: locate, unpin. out: owner.resolve, raylet.getObjects / releaseObjects.
//
// Invariants
//   F1. every pin that the raylet gave is released once: by unpin, or here when nobody wants the answer any more.
//   F2. a borrowed object is asked for once at a time; its answer serves all who wait.
import { type Clock, isTrayError, type Logger } from "@tray/common";
import {
  type Client,
  type ErrorInfo,
  type GetObjectReply,
  type NodeAddress,
  type ObjectPurpose,
  OwnerService,
  type RayletService,
  type ResolveReply,
} from "@tray/protocol";
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

  /** The value can be had here without a transfer. */
  isHere(entry: ObjectEntry): boolean {
    const { state } = entry;
    return state.kind === "stored" ? state.nodes.some(({ nodeId }) => nodeId === this.host.node().nodeId) : entry.ready;
  }

  /** Resolves with where the value can be read here; a stored one is pinned. Never rejects. `onAbsent`: it has yet to be made, for the first time or again. */
  async locate(entry: ObjectEntry, purpose: ObjectPurpose, onAbsent?: () => void): Promise<Located> {
    return (await this.locateAll([entry], purpose, onAbsent))[0] as Located;
  }

  /**
   * As locate(), for objects that are needed together: the node makes room for all of them or for none. While one has to be made again, none of the others
   * stays pinned: who makes it may need their room.
   * When one has failed, that is known at once, and what others are located as is not complete.
   */
  async locateAll(entries: readonly ObjectEntry[], purpose: ObjectPurpose, onAbsent?: () => void): Promise<Located[]> {
    const located: Located[] = [];
    let open = entries.map((entry, index) => ({ entry, index }));
    for (const entry of entries) this.references.use(entry);
    try {
      while (open.length > 0) {
        if (!open.every(({ entry }) => entry.ready)) {
          const ready = Promise.all(open.map(({ entry }) => this.ready(entry)));
          onAbsent?.();
          await ready;
        }
        const stored: { readonly entry: ObjectEntry; readonly index: number }[] = [];
        for (const one of open) {
          const now = this.locateNow(one.entry);
          if (now === undefined) stored.push(one);
          else located[one.index] = now;
        }
        if (stored.length === 0 || located.some(({ kind }) => kind === "failed")) break;
        const found = await this.fetch(
          stored.map(({ entry }) => entry),
          purpose,
        );
        if (found.some((where) => where === undefined)) {
          this.unpin(found.flatMap((where) => (where?.kind === "stored" ? [where.pinId] : [])));
          open = stored;
          continue;
        }
        for (const [i, { index }] of stored.entries()) located[index] = found[i] as Located;
        break;
      }
    } finally {
      for (const entry of entries) this.references.unuse(entry);
    }
    return entries.length === 1 ? located : located.filter(() => true); // without holes
  }

  private async ready(entry: ObjectEntry): Promise<void> {
    if (entry.ready) return;
    this.ask(entry);
    await new Promise<void>((resolve) => this.references.whenReady(entry, () => resolve()));
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

  /** Of stored objects; undefined for those of which no copy was found. */
  private async fetch(entries: readonly ObjectEntry[], purpose: ObjectPurpose): Promise<(Located | undefined)[]> {
    const self = this.host.self();
    const wanted = entries.map((entry) => {
      const { size, nodes } = entry.state.kind === "stored" ? entry.state : { size: 0, nodes: [] };
      return { objectId: entry.id, locations: { size, nodes: [...nodes] }, owner: entry.owner ?? self, pin: ++this.lastPin };
    });
    try {
      const { objects } = await this.host.raylet().getObjects({ objects: wanted, purpose }, { timeoutMs: 0, retry: true });
      return entries.map((entry, i) => {
        const { objectId, pin: pinId, locations } = wanted[i] as (typeof wanted)[number];
        const reply = objects[i] as GetObjectReply;
        if (!reply.found) {
          this.lost(entry, [...new Set([...reply.missingNodeIds, ...locations.nodes.map(({ nodeId }) => nodeId)])]);
          return undefined;
        }
        if (reply.pulled) this.copied(entry);
        this.pins.set(pinId, { pinId, objectId, offset: reply.offset }); // F1
        return { kind: "stored", pinId, offset: reply.offset, size: reply.size };
      });
    } catch (error) {
      const failed: Located = { kind: "failed", failure: failureOf(errorInfoOf(error)) };
      return entries.map(() => failed);
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
