// What a decision about actors leads to. `persist` and `forget` reach the disk before anything of `then` happens (the shell cannot do otherwise:
// it hands `then` to the journal).
import type { ActorInfo, ActorSpec } from "@tray/protocol";

export type ActorSend =
  | { readonly kind: "publish"; readonly info: ActorInfo }
  | { readonly kind: "create"; readonly actorId: string; readonly incarnation: number; readonly nodeId: string }
  | {
      readonly kind: "kill";
      readonly actorId: string;
      readonly incarnation: number;
      readonly nodeId: string;
      readonly graceful: boolean;
      readonly reason: string;
      /** The next incarnation waits for this one's end: tell the core (`released`). */
      readonly release: boolean;
    }
  /** It wants a place. */
  | { readonly kind: "schedule"; readonly actorId: string }
  /** A finished job may have lost its last actor. */
  | { readonly kind: "jobMaybeUnused"; readonly jobId: string };

export interface ActorStep {
  readonly specs: ActorSpec[];
  readonly persist: ActorInfo[];
  /** Endings that were asked for while alive (out of scope), by actor id; undefined = no longer. */
  readonly endings: Map<string, string | undefined>;
  /** Of dead actors: arguments that nobody will need again. */
  readonly dropSpecs: string[];
  readonly forget: string[];
  readonly then: ActorSend[];
}

export const emptyStep = (): ActorStep => ({ specs: [], persist: [], endings: new Map(), dropSpecs: [], forget: [], then: [] });
