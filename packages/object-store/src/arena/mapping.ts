// Mappings that live exactly as long as somebody can look at them.
//
// A view that outlives its munmap is a crash, and nothing can take an ArrayBuffer over foreign memory away from those who hold it. So the
// one ArrayBuffer made over a mapping stands for all views of it (typed arrays keep their buffer alive), and the mapping goes after the
// garbage collector took that buffer. A buffer must then never hand its memory to a second one: it is marked untransferable for
// structured cloning, and its own transfer methods (Node 21 and later) refuse.
//
// A thread that ends takes its registry with it: what it had mapped stays mapped until the process ends. That is safe, and threads end with
// their process here.
import { markAsUntransferable } from "node:worker_threads";
import { type Address, posix } from "./posix.js";

interface Mapping {
  readonly address: Address;
  readonly length: number;
  readonly onUnmapped: (() => void) | undefined;
}

const live = { mappings: 0, bytes: 0 };

const collected = new FinalizationRegistry<Mapping>((mapping) => {
  posix().unmap(mapping.address, mapping.length);
  live.mappings--;
  live.bytes -= mapping.length;
  mapping.onUnmapped?.();
});

/** For a thread that blocks, and whose event loop runs no finalizers: `cleanup` runs those of the mappings that were collected. */
export function finalizeMappings(cleanup: (registry: FinalizationRegistry<Mapping>) => void): void {
  cleanup(collected);
}

/** Mappings of this thread that have not been unmapped, for metrics and tests. */
export function liveMappings(): { readonly mappings: number; readonly bytes: number } {
  return { ...live };
}

/** Maps `length` bytes of `fd` and shows them as one ArrayBuffer. `offset` is page-aligned. @throws OBJECT_STORE_FULL. */
export function mapBuffer(
  fd: number,
  offset: number,
  length: number,
  kind: "shared" | "private",
  onUnmapped?: () => void,
): { buffer: ArrayBuffer; address: Address } {
  const calls = posix();
  const address = calls.map(fd, offset, length, kind);
  let buffer: ArrayBuffer;
  try {
    buffer = calls.view(address, length);
  } catch (error) {
    calls.unmap(address, length);
    throw error;
  }
  markAsUntransferable(buffer);
  if ("transfer" in ArrayBuffer.prototype) Object.defineProperties(buffer, refusals);
  collected.register(buffer, { address, length, onUnmapped });
  live.mappings++;
  live.bytes += length;
  return { buffer, address };
}

function refuse(): never {
  throw new TypeError("this buffer shows shared memory and cannot be transferred; copy it with slice()");
}
const refusals: PropertyDescriptorMap = { transfer: { value: refuse }, transferToFixedLength: { value: refuse } };
