// OwnedActors: actors that this process creates, from their first handle to their end with the last one.
//
// Owns:     nothing but the order of things: a handle's life is that of its entry in the reference table.
// Not mine: calls, and callers who wait for the actor (actor-calls.ts), the actor itself (GCS), counts of its handles (reference-table.ts).
// Crosses:  in: create, handlesGone. out: ActorCalls.expect / create / refuse / forget, GcsService.killActor.
//
// Invariants
//   A1. the arguments of a constructor are held as long as the actor: it may be made again (semantics.md §4).
//   A2. it is registered when those that this process owns are ready and its class is stored, or refused when one of them failed.
//   A3. its end is asked for once no handle is left, not before it is registered: it would find nobody to end.
import { type Logger, messageOf } from "@tray/common";
import type { ActorSpec, RefArg } from "@tray/protocol";
import type { ActorCreation } from "../thread/to-core.js";
import type { ActorCalls } from "./actor-calls.js";
import { errorInfo, errorInfoOf } from "./failures.js";
import type { GcsLink } from "./gcs-link.js";
import type { ObjectEntry } from "./object-entry.js";
import type { ReferenceTable } from "./reference-table.js";

const handleSuffix = "f".repeat(16);

/** The object id under which handles of an actor are counted. */
export const handleObjectId = (actorId: string): string => actorId + handleSuffix;
export const isHandleObject = (objectId: string): boolean => objectId.endsWith(handleSuffix);
/** objectId: of its handles. */
export const actorOfHandles = (objectId: string): string => objectId.slice(0, -handleSuffix.length);

export interface OwnedActorsHost {
  /** Resolves when the GCS has it. undefined: it has. */
  functionStored(functionId: string): Promise<unknown> | undefined;
  refArg(entry: ObjectEntry): RefArg;
  spec(creation: ActorCreation, args: Uint8Array, refs: RefArg[]): ActorSpec;
}

export class OwnedActors {
  constructor(
    private readonly references: ReferenceTable,
    private readonly actors: ActorCalls,
    private readonly gcs: GcsLink,
    private readonly logger: Logger,
    private readonly host: OwnedActorsHost,
  ) {}

  /** args: the constructor's, with `refs` as top-level arguments and `held` inside their values. handle: stands for all handles, just made. */
  create(handle: ObjectEntry, creation: ActorCreation, args: Uint8Array, refs: readonly ObjectEntry[], held: readonly ObjectEntry[]): void {
    handle.isHandle = true;
    this.actors.expect(creation.actorId);
    handle.contained = [...refs, ...held]; // A1
    for (const entry of handle.contained) entry.containers++;
    let missing = 0;
    const begin = (): void => this.register(creation, args, refs);
    for (const entry of refs) {
      if (entry.owner !== undefined || entry.ready) continue;
      missing++;
      this.references.whenReady(entry, () => {
        if (--missing === 0) begin();
      });
    }
    if (missing === 0) begin();
  }

  private register(creation: ActorCreation, args: Uint8Array, refs: readonly ObjectEntry[]): void {
    const failed = refs.find((entry) => entry.state.kind === "failed");
    if (failed !== undefined && failed.state.kind === "failed") {
      this.actors.refuse(
        creation.actorId,
        errorInfo("ACTOR_DIED", `actor ${creation.className} was not created: an argument of its constructor failed: ${failed.state.error.message}`, {
          cause: failed.state.error.cause,
        }),
      );
      return;
    }
    const known = refs.map((entry) => this.host.refArg(entry));
    const start = async (): Promise<void> => {
      await this.host.functionStored(creation.functionId);
      this.actors.create(this.host.spec(creation, args, known), creation.getIfExists);
    };
    start().catch((error: unknown) => this.actors.refuse(creation.actorId, errorInfoOf(error)));
  }

  handlesGone(handle: ObjectEntry): void {
    const actorId = actorOfHandles(handle.id);
    this.actors.whenRegistered(actorId, () => {
      this.gcs.client
        .killActor({ actorId, noRestart: true, outOfScope: true, reason: "the last handle is gone" }, { timeoutMs: 0, retry: true })
        .catch((error: unknown) => this.logger.debug("out-of-scope not told", { error: messageOf(error) }));
      this.actors.forget(actorId);
    });
  }
}
