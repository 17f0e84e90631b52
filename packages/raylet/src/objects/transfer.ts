// Transfer: the bytes of one object from other nodes, from whoever can give them.
//
// Owns:     transfers under way, measured bandwidth.
// Not mine: room for the bytes (Fetches), the protocol (@tray/object-store's bulk), who has copies (owners).
//
// A large object of which there are several copies is brought by several nodes at a time, each taking the next range that nobody brings. A node that is
// busy sending the object to others may name one of those (Fanout): it is followed, as long as nothing has arrived and there is one source.
//
// Invariants
//   T1. When bring() has settled, nobody writes to the object's memory any more.
//   T2. A copy counts as missing when its node says so or is dead; one that cannot be reached, only after objectPullTimeout without a byte.
//   T3. Only a node that has received nothing yet, and to which none sends, waits for one that is itself receiving, and it is named by the very node that
//       sends to that one at this moment: no circles.
//   T4. What one source brought is not fetched again from the next.
import { isTrayError, messageOf, sleep } from "@tray/common";
import type { Bulk } from "@tray/object-store";
import type { NodeAddress } from "@tray/protocol";
import { pullPauseMaxMs, pullPauseMinMs, redirectsMax, stripesMax, type TransferSizes } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import { type Range, Ranges } from "./ranges.js";

export interface TransferNodes {
  /** The cluster has given the node up. */
  isDead(nodeId: string): boolean;
  /** Under which a living node serves objects. */
  bulkAddress(nodeId: string): string | undefined;
}

/** One node's copy. */
interface Source {
  readonly node: NodeAddress;
  /** Sends us nowhere else any more: it was told not to, or it has begun. */
  insist: boolean;
}

export class Transfer {
  private bytes = 0;
  private ms = 0;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly bulk: Bulk,
    private readonly nodes: TransferNodes,
    private readonly sizes: TransferSizes,
  ) {}

  /** Measured over all transfers; 0 = none yet. */
  get bandwidthBytesPerMs(): number {
    return this.ms > 0 ? this.bytes / this.ms : 0;
  }

  /** How the object is to be cut, given so many copies. */
  rangesFor(size: number, copies: number): Ranges {
    const stripes = size < this.sizes.stripeBytesMin ? 1 : Math.min(copies, stripesMax);
    return new Ranges(size, stripes === 1 ? Math.max(1, size) : Math.ceil(size / (stripes * 4)));
  }

  /** Fills `into`. False when there is no copy: `missing` then names all nodes. Rejects with the reason when `signal` aborts, T1 still holding. */
  async bring(
    objectId: string,
    into: Uint8Array,
    ranges: Ranges,
    nodes: readonly NodeAddress[],
    missing: string[],
    signal: AbortSignal,
  ): Promise<boolean> {
    const { clock, config, metrics } = this.env;
    const startMs = clock.now();
    const from = rotated(nodes, this.env.random.next()); // the readers of a popular object spread over its copies
    let left: Source[] = from.map((node) => ({ node, insist: false }));
    const progress = { atMs: startMs, bytes: 0 };
    const onBytes = (bytes: number): void => {
      progress.atMs = clock.now();
      progress.bytes += bytes;
    };
    for (let pauseMs = pullPauseMinMs; ; pauseMs = Math.min(pullPauseMaxMs, pauseMs * 2)) {
      const before = progress.bytes;
      left = await this.round(objectId, into, ranges, left, missing, onBytes, () => clock.now() - progress.atMs < config.objectPullTimeout, signal);
      signal.throwIfAborted();
      if (ranges.isComplete) break;
      if (left.length === 0) return false;
      if (progress.bytes > before) pauseMs = pullPauseMinMs;
      await sleep(clock, pauseMs, signal);
    }
    this.bytes = this.bytes * 0.8 + into.byteLength;
    this.ms = this.ms * 0.8 + Math.max(0.01, clock.now() - startMs);
    metrics.count("tray_object_store_pulled_bytes_total", {}, into.byteLength);
    return true;
  }

  /** Every source once, until it fails or nothing is left to bring. @returns those that may yet be of use. */
  private async round(
    objectId: string,
    into: Uint8Array,
    ranges: Ranges,
    sources: readonly Source[],
    missing: string[],
    onBytes: (bytes: number) => void,
    mayWait: () => boolean,
    signal: AbortSignal,
  ): Promise<Source[]> {
    const untried = [...sources];
    const usable: Source[] = [];
    const alone = untried.length === 1 || into.byteLength < this.sizes.stripeBytesMin;
    const lane = async (): Promise<void> => {
      for (let source = untried.shift(); source !== undefined; source = untried.shift()) {
        try {
          for (let range = ranges.take(); range !== undefined; range = ranges.take()) {
            try {
              await this.bringRange(objectId, into, range, ranges, source, alone, onBytes, signal);
            } finally {
              ranges.putBack(range);
            }
          }
          usable.push(source);
          return;
        } catch (error) {
          if (signal.aborted) return;
          const { nodeId } = source.node;
          // T3: it may have been sending to us, and have named us to others.
          if (!isTrayError(error, "NOT_FOUND")) for (const other of [...untried, ...usable, source]) other.insist = true;
          if (isTrayError(error, "UNAVAILABLE") && !this.nodes.isDead(nodeId) && mayWait()) usable.push(source);
          else missing.push(nodeId); // T2
          const code = isTrayError(error) ? error.code : "";
          this.env.logger.debug("a copy could not be pulled", { objectId, from: nodeId, error: messageOf(error), code });
        }
      }
    };
    await Promise.all(Array.from({ length: alone ? 1 : Math.min(untried.length, stripesMax) }, lane)); // T1
    return [...untried, ...usable];
  }

  private async bringRange(
    objectId: string,
    into: Uint8Array,
    range: Range,
    ranges: Ranges,
    source: Source,
    alone: boolean,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let address = source.node.bulk;
    let takesPartial = false;
    for (let hops = 0; ; hops++) {
      const direct = address === source.node.bulk;
      try {
        const outcome = await this.bulk.pull({
          address,
          objectId,
          size: into.byteLength,
          offset: range.at,
          into: into.subarray(range.at, range.end),
          self: this.env.node.nodeId,
          mayRedirect: alone && !source.insist && hops < redirectsMax && ranges.prefix === 0, // T3
          takesPartial,
          onBytes: (bytes) => {
            ranges.arrived(range, bytes);
            onBytes(bytes);
          },
          signal,
        });
        if (outcome.kind === "complete") {
          if (direct) source.insist = true;
          return;
        }
        const other = this.nodes.bulkAddress(outcome.nodeId);
        if (other === undefined) source.insist = true;
        address = other ?? source.node.bulk;
        takesPartial = other !== undefined && outcome.receiving;
        this.env.metrics.count("tray_object_store_redirects_total");
      } catch (error) {
        if (direct || signal.aborted) throw error;
        source.insist = true;
        address = source.node.bulk;
        takesPartial = false;
      }
    }
  }
}

/** Begins somewhere in the list. */
function rotated<T>(items: readonly T[], draw: number): T[] {
  const at = Math.floor(draw * items.length);
  return [...items.slice(at), ...items.slice(0, at)];
}
