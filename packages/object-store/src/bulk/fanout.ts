// Fanout: how one object reaches many nodes without one of them sending it to all.
//
// Owns:     per object, to whom this node sends it now and to whom it has sent it.
// Not mine: bytes, whether the object is here (the raylet), where those who are sent elsewhere find it (the puller).
// Crosses:  in: begin, forget.  out: send, or whom to ask instead.
//
// A node sends an object to a few nodes at a time; whoever else asks is sent on to one of those that are receiving it or have received it, which do the
// same. With partial objects passed on as they come, the nodes form a tree as they ask: the receiver-driven broadcast of Hoplite (SIGCOMM'21), decided
// by the senders, without a directory. The wait for an object of n bytes grows with the logarithm of the number of nodes times a round trip, not with n.
//
// Invariants
//   F1. Nobody is sent to itself, nor to a node that this one is not sending to, or has not sent the whole of what that node asked for.
//   F2. Whoever may not be sent on is served.
//   F4. "receiving" is said of a node only while this one sends to it: who was sent the object once may have lost it, and wait for the one that asks.
//   F3. At most objectsMax objects are remembered, and receiversMax receivers of each; a forgotten one only costs a transfer from here.

export interface FanoutOptions {
  /** Sends of one object at a time before others are sent on; 0: nobody is ever sent on. */
  readonly sendsMax: number;
  /** Smaller objects are sent to whoever asks. */
  readonly bytesMin: number;
}

interface Receiver {
  /** Sends to it under way. */
  sending: number;
  /** How many were sent on to it. */
  asked: number;
}

interface Spread {
  /** By node id; the order of their arrival. */
  readonly receivers: Map<string, Receiver>;
  sends: number;
}

export type FanoutDecision =
  | { readonly kind: "send"; readonly end: (complete: boolean) => void }
  | { readonly kind: "elsewhere"; readonly nodeId: string; readonly receiving: boolean };

const objectsMax = 1_000;
const receiversMax = 32;

export class Fanout {
  private readonly spreads = new Map<string, Spread>();
  constructor(private readonly options: FanoutOptions) {}

  /** A node asks for (a part of) an object that is here. After "send", `end` is called once. */
  begin(objectId: string, size: number, nodeId: string, mayRedirect: boolean): FanoutDecision {
    const { sendsMax, bytesMin } = this.options;
    if (sendsMax === 0 || size < bytesMin) return { kind: "send", end: () => undefined };
    const spread = this.spread(objectId);
    if (mayRedirect && spread.sends >= sendsMax) {
      const other = leastAsked(spread, nodeId);
      if (other !== undefined) {
        if (spread.receivers.get(nodeId)?.sending === 0) spread.receivers.delete(nodeId); // it asks: it has lost what it was sent
        return { kind: "elsewhere", nodeId: other, receiving: (spread.receivers.get(other) as Receiver).sending > 0 }; // F4
      }
    }
    const receiver = spread.receivers.get(nodeId) ?? { sending: 0, asked: 0 };
    spread.receivers.set(nodeId, receiver);
    receiver.sending++;
    spread.sends++;
    if (spread.receivers.size > receiversMax) dropOldest(spread);
    let ended = false;
    return {
      kind: "send",
      end: (complete) => {
        if (ended) return;
        ended = true;
        spread.sends--;
        receiver.sending--;
        if (!complete && receiver.sending === 0 && spread.receivers.get(nodeId) === receiver) spread.receivers.delete(nodeId); // F1
      },
    };
  }

  /** The object is gone from here, and perhaps from everywhere. */
  forget(objectId: string): void {
    this.spreads.delete(objectId);
  }

  private spread(objectId: string): Spread {
    const known = this.spreads.get(objectId);
    if (known !== undefined) return known;
    if (this.spreads.size >= objectsMax) {
      for (const [idle, { sends }] of this.spreads) {
        if (sends > 0) continue;
        this.spreads.delete(idle); // F3
        break;
      }
    }
    const spread: Spread = { receivers: new Map(), sends: 0 };
    this.spreads.set(objectId, spread);
    return spread;
  }
}

function leastAsked({ receivers }: Spread, asking: string): string | undefined {
  let least: string | undefined;
  let asked = Number.POSITIVE_INFINITY;
  for (const [nodeId, receiver] of receivers) {
    if (nodeId === asking || receiver.asked >= asked) continue;
    least = nodeId;
    asked = receiver.asked;
  }
  const chosen = least === undefined ? undefined : receivers.get(least);
  if (chosen !== undefined) chosen.asked++;
  return least;
}

function dropOldest({ receivers }: Spread): void {
  for (const [nodeId, { sending }] of receivers) {
    if (sending > 0) continue;
    receivers.delete(nodeId); // F3
    return;
  }
}
