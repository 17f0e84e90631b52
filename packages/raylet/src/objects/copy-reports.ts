// CopyReports: tells owners of copies that they may not know of, since whoever made them died with the news.
//
// Owns:     reports under way.
// Not mine: what an owner makes of it: it takes the copy for its own, or has it deleted.
//
// Invariants
//   C1. A report is repeated until its owner has it, or the copies are gone: the death of an owner deletes them.
import { sleep } from "@tray/common";
import { type Address, OwnerService } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";
import type { NodeAddress } from "@tray/protocol";
import type { RayletEnvironment } from "../node.js";

const giveUpMs = 10_000;
const againAfterMs = 1_000;

export class CopyReports {
  private readonly closing = new AbortController();

  constructor(
    private readonly env: Pick<RayletEnvironment, "clock">,
    private readonly endpoint: Endpoint,
    private readonly here: () => NodeAddress,
    private readonly has: (objectId: string) => boolean,
  ) {}

  /** Resolves when the owner knows, or need not know any more. */
  async report(owner: Address, objectIds: readonly string[]): Promise<void> {
    for (let left = objectIds; left.length > 0; left = left.filter(this.has)) {
      const session = this.endpoint.connect(owner.endpoint, { reconnect: { giveUpMs, refusedMeansGone: true } });
      const client = session.client(OwnerService);
      for (const objectId of left) client.locationChanged({ objectId, added: this.here(), removedNodeId: "" });
      try {
        await session.delivered();
        session.close("told");
        return;
      } catch {
        // Out of reach, or gone: then its death will be published (C1).
        if (this.closing.signal.aborted) return;
        await sleep(this.env.clock, againAfterMs, this.closing.signal).catch(() => undefined);
        if (this.closing.signal.aborted) return;
      }
    }
  }

  close(): void {
    this.closing.abort();
  }
}
