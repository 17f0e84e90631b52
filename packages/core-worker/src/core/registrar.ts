// Registrar: tells owners that this process borrows their objects (docs/decisions/0004).
//
// Owns:     registrations under way.
// Crosses:  in: adopted (a reference arrived here), returned (the last hold of it went). out: owner.addBorrower, removeBorrower.
//
// Invariants
//   B1. whoever gave us a reference is told that we are done with the message it came in only after `settled()`: then the owner knows us.
//   B2. additions and removals for one owner take effect in order: a removal waits for the additions before it, which may be repeated.
//   B3. a removal is repeated when its session ended before it had arrived: an owner that lives on, out of reach for a while, would keep the object.
import type { Clock } from "@tray/common";
import { type NodeAddress, OwnerService } from "@tray/protocol";
import { errorInfo } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { Peers } from "./peers.js";
import type { ReferenceTable } from "./reference-table.js";

const againAfterMs = 1_000;
/** An owner that is gone refuses at once; one that is cut off is tried for as long as its session lives, each time. */
const removalsMax = 10;

export class Registrar {
  private readonly adding = new Map<string, ObjectEntry[]>();
  private readonly removing = new Map<string, string[]>();
  private readonly underWay = new Set<Promise<void>>();
  private scheduled = false;

  constructor(
    private readonly references: () => ReferenceTable,
    private readonly peers: Peers,
    private readonly clock: Clock,
    private readonly here: () => NodeAddress,
  ) {}

  adopted(entry: ObjectEntry): void {
    if (entry.owner === undefined || entry.registered) return;
    entry.registered = true;
    this.listOf(this.adding, entry.owner.endpoint).push(entry);
    this.schedule();
  }

  returned(entry: ObjectEntry): void {
    if (entry.owner === undefined || !entry.registered) return;
    entry.registered = false;
    this.listOf(this.removing, entry.owner.endpoint).push(entry.id);
    this.schedule();
  }

  /** Undefined when nothing is under way; else resolves when everything begun so far is confirmed (or its owner is gone). */
  settled(): Promise<void> | undefined {
    this.flush();
    if (this.underWay.size === 0) return undefined;
    return Promise.all(this.underWay).then(() => undefined);
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.clock.soon(() => this.flush());
  }

  private flush(): void {
    this.scheduled = false;
    for (const [endpoint, entries] of this.adding) this.add(endpoint, entries);
    this.adding.clear();
    for (const [endpoint, objectIds] of this.removing) {
      if (this.underWay.size === 0) this.remove(endpoint, objectIds);
      else void Promise.all(this.underWay).then(() => this.remove(endpoint, objectIds));
    }
    this.removing.clear();
  }

  /** What was taken up again meanwhile stays. B3 */
  private remove(endpoint: string, objectIds: readonly string[], attempt = 1): void {
    const returned = objectIds.filter((id) => this.references().get(id)?.registered !== true);
    if (returned.length === 0) return;
    this.tell(endpoint, returned).catch(() => {
      if (attempt < removalsMax) this.clock.after(againAfterMs, () => this.remove(endpoint, returned, attempt + 1));
    });
  }

  private async tell(endpoint: string, objectIds: string[]): Promise<void> {
    const session = this.peers.worker(endpoint);
    session.client(OwnerService).removeBorrower({ objectIds });
    await session.delivered();
  }

  private add(endpoint: string, entries: ObjectEntry[]): void {
    const call = this.peers
      .worker(endpoint)
      .client(OwnerService)
      .addBorrower({ objectIds: entries.map((e) => e.id), node: this.here() }, { timeoutMs: 0, retry: true })
      .then(
        ({ gone }) => {
          const lost = new Set(gone);
          for (const entry of entries) {
            if (lost.has(entry.id) && !entry.ready) {
              this.references().resolve(entry, {
                kind: "failed",
                error: errorInfo("OBJECT_LOST", `object ${entry.id} was already freed by its owner`),
              });
            }
          }
        },
        () => undefined, // the owner is gone: using the reference says so
      )
      .finally(() => this.underWay.delete(call));
    this.underWay.add(call);
  }

  private listOf<T>(lists: Map<string, T[]>, key: string): T[] {
    let list = lists.get(key);
    if (list === undefined) {
      list = [];
      lists.set(key, list);
    }
    return list;
  }
}
