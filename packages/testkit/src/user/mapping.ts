import type { Arena } from "@tray/object-store";

/** A process's own mapping of its node's arena: it outlives the raylet. */
export interface Mapping {
  /** To be written to. */
  write(offset: number, length: number): Uint8Array;
  /** A copy. */
  read(offset: number, length: number): Uint8Array;
}

export function mappingOf(arena: Arena): Mapping {
  const all = arena.write(0, arena.capacity);
  return {
    write: (offset, length) => all.subarray(offset, offset + length),
    read: (offset, length) => all.slice(offset, offset + length),
  };
}
