// Dependencies: what an execution needs before it may begin: its functions, loaded in the user's thread, and the values of its arguments.
//
// Owns:     which functions are loaded, or on their way.
// Not mine: in what order executions begin, and what becomes of those that cannot (executor.ts), fetching values (object-fetcher.ts), counts (reference-table.ts).
// Crosses:  in: isLoaded, resolve, unpin. out: DependenciesHost, ObjectFetcher, ToUser.loadFunction.
//
// Invariants
//   D1. a function is fetched and loaded once, unless fetching it failed.
//   D2. what resolve() located is pinned until it is unpinned here, or handed to the user's thread.
import { type GetFunctionReply, ObjectPurpose, type RefArg, type RefInfo } from "@tray/protocol";
import type { Located, ToUser } from "../thread/to-user.js";
import type { Execution } from "./execution.js";
import { errorInfo } from "./failures.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ObjectFetcher } from "./object-fetcher.js";
import type { ReferenceTable } from "./reference-table.js";

export interface DependenciesHost {
  getFunction(jobId: string, functionId: string): Promise<GetFunctionReply>;
  self(): { readonly workerId: string };
  /** Somebody has yet to make one of these arguments, or to make it again. */
  absent(execution: Execution, entries: readonly ObjectEntry[]): void;
}

export class Dependencies {
  private readonly functions = new Map<string, Promise<void> | true>();

  constructor(
    private readonly user: ToUser,
    private readonly references: ReferenceTable,
    private readonly fetcher: ObjectFetcher,
    private readonly host: DependenciesHost,
  ) {}

  /** functionId: "" = none. */
  isLoaded(functionId: string): boolean {
    return functionId === "" || this.functions.get(functionId) === true;
  }

  /** Resolves when all is there, to the arguments: all of them, or among others one that has failed. Rejects when a function cannot be had (D2). */
  async resolve(execution: Execution, jobId: string, functionIds: readonly string[], refs: readonly RefArg[]): Promise<readonly Located[]> {
    const locating = this.locate(refs, execution);
    try {
      await Promise.all(functionIds.map((id) => this.load(jobId, id)));
    } catch (error) {
      void locating.then(
        (located) => this.unpin({ located }), // nobody will read them
        () => undefined,
      );
      throw error;
    }
    return await locating;
  }

  /** D2: the execution will not begin, or not now. False: nothing of it was pinned. */
  unpin({ located }: Pick<Execution, "located">): boolean {
    const pins: number[] = [];
    for (const one of located) if (one.kind === "stored") pins.push(one.pinId);
    this.fetcher.unpin(pins);
    return pins.length > 0;
  }

  private async locate(refs: readonly RefArg[], execution: Execution): Promise<readonly Located[]> {
    const located: Located[] = [];
    const entries: ObjectEntry[] = [];
    const places: number[] = [];
    for (const [i, ref] of refs.entries()) {
      const argument = this.argument(ref);
      if ("kind" in argument) located[i] = argument;
      else {
        places.push(i);
        entries.push(argument);
      }
    }
    if (entries.length === 0) return located;
    const fetched = await this.fetcher.locateAll(entries, ObjectPurpose.ARGUMENT, () => this.host.absent(execution, entries));
    if (fetched.length < entries.length) return fetched;
    for (const [i, place] of places.entries()) located[place] = fetched[i] as Located;
    return located;
  }

  /** What the caller knew of it, or else the object to be fetched. */
  private argument(ref: RefArg): Located | ObjectEntry {
    const { known } = ref;
    if (known?.$case === "value") return { kind: "value", value: known.value };
    if (known?.$case === "error") return { kind: "failed", failure: known.value };
    const info = ref.ref as RefInfo;
    const owner = info.owner as NonNullable<RefInfo["owner"]>;
    const mine = owner.workerId === this.host.self().workerId;
    const entry = mine ? this.references.get(info.objectId) : this.references.borrow(info.objectId, owner);
    if (entry === undefined)
      return { kind: "failed", failure: errorInfo("OBJECT_LOST", `object ${info.objectId} was freed by its owner, this very worker`) };
    if (known?.$case === "stored" && !mine && entry.state.kind === "pending")
      this.references.resolve(entry, { kind: "stored", size: known.value.size, nodes: known.value.nodes });
    return entry;
  }

  private async load(jobId: string, functionId: string): Promise<void> {
    if (functionId === "") return;
    const known = this.functions.get(functionId);
    if (known !== undefined) {
      if (known !== true) await known;
      return;
    }
    const loading = this.host.getFunction(jobId, functionId).then(
      ({ blob }) => {
        this.functions.set(functionId, true);
        this.user.loadFunction(functionId, blob);
      },
      (error: unknown) => {
        this.functions.delete(functionId);
        throw error;
      },
    );
    this.functions.set(functionId, loading); // D1
    await loading;
  }
}
