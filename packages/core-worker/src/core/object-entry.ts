// What a process knows about one object.
import type { Address, ErrorInfo, NodeAddress } from "@tray/protocol";
import { objectIdOf } from "@tray/protocol";
import type { TaskEntry } from "./task-entry.js";

/** Where an object's value is, as far as this process knows. `pending`: not yet made, or (borrowed) not yet asked for. */
export type ObjectState =
  | { readonly kind: "pending" }
  | { readonly kind: "value"; readonly value: Uint8Array }
  | { readonly kind: "stored"; readonly size: number; readonly nodes: NodeAddress[] }
  | { readonly kind: "failed"; readonly error: ErrorInfo }
  /** The count reached zero and the value is gone; only the lineage keeps the entry. */
  | { readonly kind: "freed" };

export type ReadyState = Exclude<ObjectState, { kind: "pending" } | { kind: "freed" }>;

export const pendingState: ObjectState = Object.freeze({ kind: "pending" });
export const freedState: ObjectState = Object.freeze({ kind: "freed" });

/** Called once when the object is ready (value, stored or failed). */
export type ReadyListener = (entry: ObjectEntry) => void;

export class ObjectEntry {
  state: ObjectState = pendingState;
  /** Handles of this process's user thread. */
  handles = 0;
  /** Tasks submitted here, not yet ended, that use it as or inside an argument; and transient holds of this process. */
  uses = 0;
  /** Objects owned here whose value contains it. */
  containers = 0;
  /** Retained tasks that would need it to run again: keeps the entry, and a value that lies in this process; not one in a store. */
  lineage = 0;
  /** Nothing but lineage keeps its value, of which the bytes count as lineage (owned objects). */
  spare = false;
  /** Other processes that hold it (owned objects). */
  borrowers: Set<string> | undefined;
  /** References inside the value, held as long as it (owned objects). */
  contained: ObjectEntry[] | undefined;
  listeners: ReadyListener[] | undefined;
  /** Nodes where a copy was not found, or that could not be reached: one may be there all the same (owned objects). */
  strays: NodeAddress[] | undefined;
  /** Borrowed objects: the owner has confirmed this process as a borrower. */
  registered = false;
  /** Out of the table. */
  removed = false;
  /** Counts handles of an actor rather than a value. */
  isHandle = false;

  constructor(
    /** When this process came to know it, in whole seconds of its clock. */
    readonly sinceS: number,
    /** Undefined: this process owns it. */
    readonly owner: Address | undefined,
    /** The task that makes it; undefined for put and borrowed objects. */
    readonly task: TaskEntry | undefined,
    readonly index: number,
    private idText: string | undefined,
  ) {}

  get id(): string {
    this.idText ??= objectIdOf((this.task as TaskEntry).id, this.index);
    return this.idText;
  }

  get ready(): boolean {
    return this.state.kind !== "pending" && this.state.kind !== "freed";
  }

  /** True while anything at all needs the value. */
  get inUse(): boolean {
    return this.handles > 0 || this.uses > 0 || this.containers > 0 || (this.borrowers !== undefined && this.borrowers.size > 0);
  }
}

/** Its value lies in a store; or was freed, and what was made of it may yet need it. */
export const mayBeLost = ({ state, inUse, lineage }: ObjectEntry): boolean =>
  (state.kind === "stored" && inUse) || (state.kind === "freed" && lineage > 0);

/** Its value is here, or where it was. */
export const isIntact = ({ state }: ObjectEntry): boolean => state.kind === "value" || (state.kind === "stored" && state.nodes.length > 0);
