// What all sessions of an endpoint share.
import type { Clock, Logger, Random } from "@tray/common";
import type { PeerInfo } from "@tray/protocol";
import type { Deadlines } from "../deadlines.js";
import type { FaultPlan } from "../faults.js";
import type { FrameWriter } from "../frame.js";
import type { Limits } from "../limits.js";
import type { MethodTable } from "../methods.js";

/** Plain numbers, read by gauges: the hot path adds to a field and no more. */
export interface Traffic {
  messagesSent: number;
  messagesReceived: number;
  framesSent: number;
  framesReceived: number;
  framesResent: number;
  bytesSent: number;
  bytesReceived: number;
  duplicatesDropped: number;
  linksBroken: number;
  resets: number;
  refusedForQueue: number;
  injectedFaults: number;
}

export const noTraffic = (): Traffic => ({
  messagesSent: 0,
  messagesReceived: 0,
  framesSent: 0,
  framesReceived: 0,
  framesResent: 0,
  bytesSent: 0,
  bytesReceived: 0,
  duplicatesDropped: 0,
  linksBroken: 0,
  resets: 0,
  refusedForQueue: 0,
  injectedFaults: 0,
});

export interface SessionEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly limits: Limits;
  readonly self: PeerInfo;
  readonly faults: FaultPlan | undefined;
  readonly methods: MethodTable;
  readonly deadlines: Deadlines;
  readonly traffic: Traffic;
  /** Writers are shared by the sessions of an endpoint: only those with something to send this turn hold one. */
  takeWriter(): FrameWriter;
  giveWriter(writer: FrameWriter): void;
  /** Calls `session.flush()` at the end of this turn. */
  flushLater(session: { flush(): void }): void;
  /** A handler broke an invariant: the process must not go on. */
  onBug(error: unknown): void;
}
