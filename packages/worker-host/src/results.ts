// What user code returned, yielded or threw, as it travels: inline when it is small, else in the arena under the id of the return.
import type { ReturnValue, Runtime } from "@tray/core-worker";
import { flatten } from "@tray/serialization";
import { inspect } from "node:util";
import type { Running } from "./execution.js";

/** A value that travels inline, else undefined. @throws SERIALIZATION */
export function inlineReturn(runtime: Runtime, value: unknown): ReturnValue | undefined {
  const held: number[] = [];
  const serialized = runtime.codec.serialize(value, { held });
  if (serialized.byteLength > runtime.connection.maxInlineBytes) return undefined;
  return { value: flatten(serialized), size: serialized.byteLength, contained: held };
}

/** Writes a value into the arena under the id of the task's return `index`. */
export async function storedReturn(runtime: Runtime, running: Running, index: number, value: unknown): Promise<ReturnValue> {
  const { size, held } = await runtime.storeReturn(running.execId, running.taskId, index, value);
  return { value: undefined, size, contained: held };
}

/** What a stream returns in the end: the number of its items. */
export function countReturn(count: number): ReturnValue {
  const value = Buffer.alloc(8);
  value.writeDoubleLE(count);
  return { value, size: 8, contained: [] };
}

/** The flat value of what was thrown. */
export function errorBytes({ codec }: Runtime, error: unknown): Uint8Array {
  try {
    return flatten(codec.serialize(error, { held: [] }));
  } catch {
    // What was thrown cannot travel as it is; what it says can.
    const plain = new Error(describe(error));
    if (error instanceof Error && error.stack !== undefined) plain.stack = error.stack;
    return flatten(codec.serialize(plain, { held: [] }));
  }
}

/** What was thrown, in a line. */
export function describe(error: unknown): string {
  if (error instanceof Error) {
    const own = (error.constructor as { name?: string } | undefined)?.name;
    return `${error.name === "Error" && own !== undefined && own !== "" ? own : error.name}: ${error.message}`;
  }
  if (typeof error === "object" && error !== null && "message" in error)
    return `${(error as { name?: string }).name ?? "Error"}: ${String((error as { message: unknown }).message)}`;
  return `${inspect(error, { depth: 1, breakLength: Number.POSITIVE_INFINITY, maxStringLength: 500, maxArrayLength: 10 })} (not an Error)`;
}
