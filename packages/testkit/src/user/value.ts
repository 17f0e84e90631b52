// Values of simulated programs: JSON, blobs whose content can be checked, and references.
//
// Encoded: 4 bytes length of the JSON, the JSON, the blobs' bytes one after the other. {"$b":[seed,size]} stands for a blob, {"$r":[…]} for a reference,
// {"$a":n} for the value of the n-th reference argument.
import type { Address } from "@tray/protocol";
import { Violation } from "../world/event-log.js";

export type SimValue = null | boolean | number | string | Blob | SimRef | SimHandle | readonly SimValue[] | { readonly [key: string]: SimValue };

/** `size` bytes that follow from `seed`. */
export class Blob {
  constructor(
    readonly seed: number,
    readonly size: number,
  ) {}
}

/** A handle of a simulated program to an object. */
export class SimRef {
  released = false;
  constructor(
    readonly slot: number,
    readonly objectId: string,
    readonly owner: Address,
  ) {}
}

/** A handle to an actor: the slot counts it. Slot 0: found by name, does not count. */
export class SimHandle {
  released = false;
  constructor(
    readonly slot: number,
    readonly actorId: string,
    readonly className: string,
    readonly maxTaskRetries: number,
    readonly owner: Address,
  ) {}
}

/** The consumer's end of a streaming task. */
export class SimStream {
  released = false;
  constructor(
    readonly slot: number,
    readonly taskId: string,
  ) {}
}

export interface Decoding {
  readonly args: readonly SimValue[];
  adopt(objectId: string, owner: Address): SimRef;
  adoptHandle(actorId: string, className: string, counts: boolean, maxTaskRetries: number, owner: Address): SimHandle;
}

/** @returns the bytes, and the slots of the references inside. */
export function encode(value: SimValue, isArgument?: (ref: SimRef) => number): { bytes: Uint8Array; held: number[] } {
  const held: number[] = [];
  const blobs: Blob[] = [];
  const plain = (v: SimValue): unknown => {
    if (v instanceof Blob) {
      blobs.push(v);
      return { $b: [v.seed, v.size] };
    }
    if (v instanceof SimRef) {
      const index = isArgument?.(v) ?? -1;
      if (index >= 0) return { $a: index };
      held.push(v.slot);
      return { $r: [v.objectId, v.owner.workerId, v.owner.nodeId, v.owner.endpoint] };
    }
    if (v instanceof SimHandle) {
      if (v.slot !== 0) held.push(v.slot);
      return { $h: [v.actorId, v.className, v.slot === 0 ? 0 : 1, v.maxTaskRetries, v.owner.workerId, v.owner.nodeId, v.owner.endpoint] };
    }
    if (Array.isArray(v)) return v.map(plain);
    if (typeof v === "object" && v !== null) return Object.fromEntries(Object.entries(v).map(([key, inner]) => [key, plain(inner as SimValue)]));
    return v;
  };
  const json = Buffer.from(JSON.stringify(plain(value)));
  const bytes = new Uint8Array(4 + json.length + blobs.reduce((sum, blob) => sum + blob.size, 0));
  new DataView(bytes.buffer).setUint32(0, json.length);
  bytes.set(json, 4);
  let at = 4 + json.length;
  for (const blob of blobs) {
    for (let i = 0; i < blob.size; i++) bytes[at + i] = byteOf(blob.seed, i);
    at += blob.size;
  }
  return { bytes, held };
}

/** @throws Violation when the bytes are not what was encoded. */
export function decode(bytes: Uint8Array, context: Decoding): SimValue {
  if (bytes.length < 4) throw new Violation(`a value of ${bytes.length} bytes`);
  const jsonBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  if (jsonBytes > bytes.length - 4) throw new Violation(`a value was overwritten: ${bytes.length} bytes with ${jsonBytes} of JSON`);
  let at = 4 + jsonBytes;
  const revive = (v: unknown): SimValue => {
    if (Array.isArray(v)) return v.map(revive);
    if (typeof v !== "object" || v === null) return v as SimValue;
    const { $a, $b, $r, $h } = v as {
      $a?: number;
      $b?: [number, number];
      $r?: [string, string, string, string];
      $h?: [string, string, number, number, string, string, string];
    };
    if ($a !== undefined) return context.args[$a] ?? null;
    if ($b !== undefined) {
      const [seed, size] = $b;
      for (let i = 0; i < size; i++)
        if (bytes[at + i] !== byteOf(seed, i)) throw new Violation(`byte ${i} of a blob of ${size} is ${bytes[at + i]}, not ${byteOf(seed, i)}`);
      at += size;
      return new Blob(seed, size);
    }
    if ($r !== undefined) return context.adopt($r[0], { workerId: $r[1], nodeId: $r[2], endpoint: $r[3] });
    if ($h !== undefined) return context.adoptHandle($h[0], $h[1], $h[2] === 1, $h[3], { workerId: $h[4], nodeId: $h[5], endpoint: $h[6] });
    return Object.fromEntries(Object.entries(v).map(([key, inner]) => [key, revive(inner)]));
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset + 4, jsonBytes).toString());
  } catch (error) {
    throw new Violation(`a value was overwritten: ${String(error)}`);
  }
  const value = revive(parsed);
  if (at !== bytes.length) throw new Violation(`a value of ${bytes.length} bytes where ${at} were written`);
  return value;
}

const byteOf = (seed: number, i: number): number => (seed + i * 7 + (i >> 8)) & 0xff;
