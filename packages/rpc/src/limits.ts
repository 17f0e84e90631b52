// Every limit of the session layer, named and derived in one place.
import { TrayError } from "@tray/common";

export interface Limits {
  /** Largest single message, bytes. */
  messageBytesMax: number;
  /** A frame is closed once it holds this much; a larger message has a frame of its own. */
  frameBytesSoft: number;
  /** Unacknowledged bytes a peer may send us; announced to it in the handshake. */
  windowBytes: number;
  /** Bytes waiting for window or connection beyond which sends fail with RESOURCE_EXHAUSTED. */
  queuedBytesMax: number;
  /** Calls without an answer, per session and direction, beyond which calls fail with RESOURCE_EXHAUSTED. */
  pendingCallsMax: number;
  /** An acknowledgement of its own leaves after this many frames, */
  ackFrames: number;
  /** or this many bytes, */
  ackBytes: number;
  /** or this long after the first frame that no other frame acknowledged. */
  ackDelayMs: number;
  /** How long an accepting endpoint keeps a broken session for its peer to come back. */
  lingerMs: number;
  /** From dialling to the peer's welcome. */
  handshakeMs: number;
  /** How long the end of a link may take after its goodbye. */
  goodbyeMs: number;
  /** Incoming sessions, and links before their handshake, beyond which newcomers are refused. */
  sessionsMax: number;
  /** A link that was silent this long is broken; it is asked for a sign of life after a third of it. */
  silenceMs: number;
  backoffMinMs: number;
  backoffMaxMs: number;
  /** Deadline of calls that name none. */
  callTimeoutMs: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

export const defaultLimits: Limits = {
  messageBytesMax: 500 * MiB,
  frameBytesSoft: 256 * KiB,
  windowBytes: 16 * MiB,
  queuedBytesMax: 1024 * MiB,
  pendingCallsMax: 1_000_000,
  ackFrames: 32,
  ackBytes: 2 * MiB,
  ackDelayMs: 5,
  lingerMs: 10_000,
  handshakeMs: 5_000,
  goodbyeMs: 1_000,
  sessionsMax: 100_000,
  silenceMs: 15_000,
  backoffMinMs: 20,
  backoffMaxMs: 1_000,
  callTimeoutMs: 30_000,
};

/** The size that a transport must carry: the largest message in a frame of its own. */
export const wireBytesMax = 512 * MiB;

export function resolveLimits(given: Partial<Limits> = {}): Limits {
  const limits = { ...defaultLimits, ...given };
  const must = (holds: boolean, what: string): void => {
    if (!holds) throw new TrayError("CONFIG", `rpc limits: ${what}`);
  };
  must(limits.messageBytesMax + limits.frameBytesSoft < wireBytesMax, "messageBytesMax + frameBytesSoft must stay below 512 MiB");
  must(limits.ackBytes * 2 <= limits.windowBytes, "ackBytes must be at most half of windowBytes, or a sender stalls until the ack timer");
  must(limits.frameBytesSoft <= limits.windowBytes, "frameBytesSoft must not exceed windowBytes");
  must(limits.queuedBytesMax >= limits.messageBytesMax, "queuedBytesMax must hold at least one message of messageBytesMax");
  must(limits.backoffMinMs > 0 && limits.backoffMinMs <= limits.backoffMaxMs, "0 < backoffMinMs ≤ backoffMaxMs");
  must(limits.silenceMs >= 3 && limits.lingerMs >= 0, "silenceMs ≥ 3 and lingerMs ≥ 0");
  return limits;
}
