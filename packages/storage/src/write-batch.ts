import { TrayError } from "@tray/common";
import type { Table } from "./store.js";

/** LMDB's limit is 1978 bytes with 4 KiB pages; every store holds callers to the same one. */
export const maxKeyBytes = 1024;
/** Larger values belong in files. */
export const maxValueBytes = 2 ** 30;

/** One change of a batch; a missing value deletes. */
export interface WriteOp {
  readonly table: string;
  readonly key: string;
  readonly value: Uint8Array | undefined;
}

/** Puts and deletes over any tables of one store, applied together or not at all; within a batch the last write of a key counts. */
export class WriteBatch {
  readonly ops: WriteOp[] = [];
  /** Keys and values together: what the batch costs to hold. */
  bytes = 0;

  /** @throws INVALID_ARGUMENT for a key or value beyond the limits above. */
  put(table: Table, key: string, value: Uint8Array): this {
    if (value.byteLength > maxValueBytes)
      throw new TrayError("INVALID_ARGUMENT", `value of ${value.byteLength} bytes is over the limit of ${maxValueBytes}`);
    return this.add({ table: table.name, key, value });
  }
  /** Deleting what is not there is no error. */
  delete(table: Table, key: string): this {
    return this.add({ table: table.name, key, value: undefined });
  }
  private add(op: WriteOp): this {
    const keyBytes = Buffer.byteLength(op.key);
    // A lone surrogate has no UTF-8 form: two such keys would become one.
    if (keyBytes === 0 || keyBytes > maxKeyBytes || /\p{Surrogate}/u.test(op.key)) {
      throw new TrayError("INVALID_ARGUMENT", `${JSON.stringify(op.key.slice(0, 80))} is not a key: 1 to ${maxKeyBytes} bytes of well-formed text`);
    }
    this.ops.push(op);
    this.bytes += keyBytes + (op.value?.byteLength ?? 0);
    return this;
  }
}
