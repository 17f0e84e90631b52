// TableClients: what each client of the table writes and has pinned, so that its end costs what it held and not a walk over the table.
//
// Invariants
//   T1. a creator writes at most one block of an object at a time.
//   T2. a client is known while it holds something.
import { invariant } from "@tray/common";
import type { Entry } from "./entry.js";
import type { Holder } from "./types.js";

interface Client {
  /** By object id (T1). */
  readonly writing: Map<string, Entry>;
  readonly pinned: Set<Entry>;
}

export class TableClients {
  private readonly clients = new Map<Holder, Client>();

  /** The block of `objectId` that `creator` is writing, deleted or not. */
  writing(creator: Holder, objectId: string): Entry | undefined {
    return this.clients.get(creator)?.writing.get(objectId);
  }
  isWritten(entry: Entry): boolean {
    return this.writing(entry.creator, entry.objectId) === entry;
  }
  beginWriting(entry: Entry): void {
    this.client(entry.creator).writing.set(entry.objectId, entry);
  }
  endWriting(entry: Entry): void {
    this.clients.get(entry.creator)?.writing.delete(entry.objectId);
    this.forgetIfIdle(entry.creator);
  }

  /** The client has a pin on the entry, its first or another. */
  pins(client: Holder, entry: Entry): void {
    this.client(client).pinned.add(entry);
  }
  /** The client has no pin on the entry any more. */
  pinsNoLonger(client: Holder, entry: Entry): void {
    this.clients.get(client)?.pinned.delete(entry);
    this.forgetIfIdle(client);
  }

  /** All that a client writes and has pinned, as it is now. */
  holdingsOf(client: Holder): { readonly writing: readonly Entry[]; readonly pinned: readonly Entry[] } {
    const held = this.clients.get(client);
    return { writing: [...(held?.writing.values() ?? [])], pinned: [...(held?.pinned ?? [])] };
  }
  /** T2 */
  holds(client: Holder): boolean {
    return this.clients.has(client);
  }
  /** Who has pinned something. */
  pinHolders(): Holder[] {
    return [...this.clients].flatMap(([holder, { pinned }]) => (pinned.size > 0 ? [holder] : []));
  }

  /** That writer and pins of an entry are known here. */
  check(entry: Entry): void {
    for (const client of entry.pinnedBy.keys()) invariant(this.clients.get(client)?.pinned.has(entry), () => `pin of ${client}`);
    invariant(this.isWritten(entry) === (entry.state === "creating"), () => `writer of ${entry.objectId}`);
  }

  private client(id: Holder): Client {
    let client = this.clients.get(id);
    if (client === undefined) {
      client = { writing: new Map(), pinned: new Set() };
      this.clients.set(id, client);
    }
    return client;
  }

  private forgetIfIdle(id: Holder): void {
    const client = this.clients.get(id);
    if (client !== undefined && client.writing.size === 0 && client.pinned.size === 0) this.clients.delete(id);
  }
}
