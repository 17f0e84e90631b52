// The bulk plane of a simulated cluster: the same port, the same errors, bytes copied in memory, time and faults by the simulation.
import { type Clock, messageOf, sleep, TrayError } from "@tray/common";
import type { Bulk, BulkOpened, BulkOutcome, BulkPull, BulkReadable, BulkSource } from "./bulk.js";
import { checkRoom } from "./client.js";

export interface MemoryBulkOptions {
  readonly clock: Clock;
  /** How long `bytes` take from one node to another. Default: 0.1 ms + 1 ms a MiB. */
  readonly durationMs?: (from: string, to: string, bytes: number) => number;
  /** Asked before each chunk; an Error breaks the transfer off with it. For partitions and crashes. */
  readonly fault?: (from: string, to: string, objectId: string) => Error | undefined;
  /** Default 1 MiB: transfers of different nodes interleave, and faults strike, between chunks. */
  readonly chunkBytes?: number;
}

/** Where simulated bulk servers are found by address. */
export class MemoryBulkNetwork {
  private readonly sources = new Map<string, BulkSource>();
  constructor(private readonly options: MemoryBulkOptions) {}

  /** @returns what ends it. Transfers under way break off. */
  serve(address: string, source: BulkSource): () => void {
    this.sources.set(address, source);
    return () => {
      if (this.sources.get(address) === source) this.sources.delete(address);
    };
  }

  /** The client of the node whose own address is `from`. */
  client(from: string): Bulk {
    return new MemoryBulk(from, this.sources, this.options);
  }
}

class MemoryBulk implements Bulk {
  private closed: TrayError | undefined;
  constructor(
    private readonly self: string,
    private readonly sources: ReadonlyMap<string, BulkSource>,
    private readonly options: MemoryBulkOptions,
  ) {}

  async pull(pull: BulkPull): Promise<BulkOutcome> {
    const { clock, fault } = this.options;
    const chunkBytes = this.options.chunkBytes ?? 2 ** 20;
    checkRoom(pull);
    const { signal } = pull;
    const source = this.sources.get(pull.address);
    const check = (): void => {
      if (this.closed !== undefined) throw this.closed;
      signal?.throwIfAborted();
      const error =
        this.sources.get(pull.address) !== source || source === undefined
          ? new Error("connection refused")
          : fault?.(pull.address, this.self, pull.objectId);
      if (error !== undefined)
        throw new TrayError("UNAVAILABLE", `pulling ${pull.objectId} from ${pull.address} broke off: ${error.message}`, { cause: error });
    };
    check();
    await sleep(clock, this.duration(pull.address, 0), signal);
    check();
    let object: BulkOpened;
    try {
      const { objectId, self: nodeId, mayRedirect, takesPartial } = pull;
      object = await source?.open({ objectId, nodeId, mayRedirect, takesPartial, peer: this.self });
    } catch (error) {
      throw new TrayError("UNAVAILABLE", `object ${pull.objectId} at ${pull.address} cannot be read now`, { cause: error });
    }
    if (object === undefined) throw new TrayError("NOT_FOUND", `object ${pull.objectId} at ${pull.address} is not there`);
    if ("elsewhere" in object) return { kind: "elsewhere", nodeId: object.elsewhere, receiving: object.receiving };
    let complete = false;
    const { offset = 0 } = pull;
    try {
      if (object.size !== pull.size) {
        throw new TrayError("INVALID_ARGUMENT", `object ${pull.objectId} at ${pull.address} has ${object.size} bytes, expected ${pull.size}`);
      }
      for (let at = 0; at < pull.into.byteLength; ) {
        const chunk = await this.read(pull, object, offset + at, Math.min(chunkBytes, pull.into.byteLength - at));
        await sleep(clock, this.duration(pull.address, chunk.byteLength), signal);
        check();
        pull.into.set(chunk, at);
        at += chunk.byteLength;
        pull.onBytes?.(chunk.byteLength);
      }
      complete = true;
      return { kind: "complete" };
    } finally {
      object.close(complete);
    }
  }

  private async read({ objectId, address, signal }: BulkPull, object: BulkReadable, offset: number, length: number): Promise<Uint8Array> {
    const read = object.read(offset, length);
    if (read instanceof Uint8Array) return read;
    let left = (): void => undefined;
    const aborted = new Promise<never>((_, reject) => {
      left = () => reject(signal?.reason as Error);
    });
    signal?.addEventListener("abort", left, { once: true }); // as a socket that is destroyed: what has yet to come there is not waited for
    try {
      return await Promise.race([read, aborted]);
    } catch (error) {
      signal?.throwIfAborted();
      throw new TrayError("UNAVAILABLE", `pulling ${objectId} from ${address} broke off: ${messageOf(error)}`, { cause: error });
    } finally {
      signal?.removeEventListener("abort", left);
    }
  }

  async close(): Promise<void> {
    this.closed = new TrayError("UNAVAILABLE", "the bulk client is closed");
  }

  private duration(from: string, bytes: number): number {
    return this.options.durationMs?.(from, this.self, bytes) ?? (bytes === 0 ? 0.1 : bytes / 2 ** 20);
  }
}
