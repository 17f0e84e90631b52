// StreamCore: numbering, acknowledgement, resending and de-duplication of one session's data frames. Pure: no I/O, no time.
//
// Owns:     frames not yet acknowledged, the next number, what was received, how much acknowledgement is owed.
// Not mine: links, timers, what is in a frame (beyond the header's two numbers).
// Crosses:  in: push, onAck, onFrame, rewind, reset.  out: take (the next frame that may leave), ack state.
//
// Invariants
//   N1. Numbers are consecutive from 1 within a stream; a frame keeps its number on every link.
//   N2. A frame is delivered when its number is `received + 1`, and then only: duplicates and gaps are never delivered.
//   N3. A frame is kept until acknowledged; `sent` then `waiting` hold all unacknowledged frames in order.
//   N4. Bytes in flight never exceed the peer's window, except for one frame larger than it, alone.
import { Deque, invariant } from "@tray/common";
import { numberOf, stampAck, stampNumber } from "../frame.js";

export class StreamCore {
  private sent = new Deque<Uint8Array>();
  private waiting = new Deque<Uint8Array>();
  private lastNumber = 0;
  private lastAcked = 0;
  private bytesInFlight = 0;
  private bytesKept = 0;
  private lastReceived = 0;
  private owedFrames = 0;
  private owedBytes = 0;

  constructor(private peerWindow: number) {}

  /** Bytes of all frames not acknowledged, sent or waiting. */
  get keptBytes(): number {
    return this.bytesKept;
  }
  get windowBytes(): number {
    return this.peerWindow;
  }
  /** The highest number given to a frame, and the highest that the peer has acknowledged. */
  get lastNumbered(): number {
    return this.lastNumber;
  }
  get acknowledged(): number {
    return this.lastAcked;
  }
  /** The highest number delivered here. */
  get received(): number {
    return this.lastReceived;
  }
  /** Frames delivered since an acknowledgement last left. */
  get ackOwedFrames(): number {
    return this.owedFrames;
  }
  get ackOwedBytes(): number {
    return this.owedBytes;
  }

  /** Numbers a frame and queues it. */
  push(frame: Uint8Array): void {
    this.lastNumber++;
    stampNumber(frame, this.lastNumber); // N1
    this.waiting.push(frame);
    this.bytesKept += frame.length;
  }

  /** The next frame that the window lets go, with the current acknowledgement in its header. */
  take(): Uint8Array | undefined {
    const frame = this.waiting.peek();
    if (frame === undefined) return undefined;
    if (this.bytesInFlight > 0 && this.bytesInFlight + frame.length > this.peerWindow) return undefined; // N4
    return this.takeAnyway();
  }

  /** The next frame regardless of the window: for a goodbye. */
  takeAnyway(): Uint8Array | undefined {
    const frame = this.waiting.shift();
    if (frame === undefined) return undefined;
    this.sent.push(frame);
    this.bytesInFlight += frame.length;
    stampAck(frame, this.takeAck());
    return frame;
  }

  /** The acknowledgement to send; none is owed afterwards. */
  takeAck(): number {
    this.owedFrames = 0;
    this.owedBytes = 0;
    return this.lastReceived;
  }

  /** The peer has everything up to `ack`. Returns false when it claims what was not sent. */
  onAck(ack: number): boolean {
    if (ack <= this.lastAcked) return true;
    if (ack > this.lastNumber - this.waiting.length) return false;
    while (this.lastAcked < ack) {
      const frame = this.sent.shift();
      invariant(frame !== undefined, "an unacknowledged frame is kept (N3)");
      this.lastAcked++;
      this.bytesInFlight -= frame.length;
      this.bytesKept -= frame.length;
    }
    return true;
  }

  /** Whether a frame that came is to be delivered. A gap means that the link misbehaves: end it, resume on another. */
  onFrame(number: number, bytes: number): "deliver" | "duplicate" | "gap" {
    if (number > this.lastReceived + 1) return "gap";
    this.owedFrames++; // a duplicate too: its sender evidently lacks our acknowledgement
    this.owedBytes += bytes;
    if (number <= this.lastReceived) return "duplicate";
    this.lastReceived = number; // N2
    return "deliver";
  }

  /**
   * A new link to the same stream: the peer has everything up to `peerReceived`; the rest is to be sent again, in order.
   * False when that cannot be (it claims what was not sent, or lacks what it had acknowledged): the stream is not the same.
   */
  rewind(peerReceived: number, peerWindow: number): boolean {
    if (peerReceived < this.lastAcked || peerReceived > this.lastNumber - this.waiting.length) return false;
    for (let frame = this.sent.pop(); frame !== undefined; frame = this.sent.pop()) this.waiting.unshift(frame);
    this.bytesInFlight = 0;
    this.peerWindow = peerWindow;
    while (this.lastAcked < peerReceived) {
      const frame = this.waiting.shift();
      invariant(frame !== undefined && numberOf(frame) === this.lastAcked + 1, "kept frames are consecutive (N1, N3)");
      this.lastAcked++;
      this.bytesKept -= frame.length;
    }
    return true;
  }

  /** A new stream: everything kept is dropped, numbers begin anew. */
  reset(): void {
    this.sent = new Deque();
    this.waiting = new Deque();
    this.lastNumber = this.lastAcked = this.lastReceived = 0;
    this.bytesInFlight = this.bytesKept = 0;
    this.owedFrames = this.owedBytes = 0;
  }
}
