// One end of the pair of rings between a user's thread and its I/O thread.
//
// Owns:     the writer of one ring, the reader of the other, the wake port, the port for what is too large for a ring.
// Not mine: what records mean.
// Crosses:  in: records of the other thread (`handle`). out: records pushed here.
//
// Invariants
//   C1. records arrive in the order they were sent, whichever way they travelled: a large one leaves a marker in the ring.
//   C2. only the user's thread may block on a full ring; the I/O thread keeps an overflow queue, so the two never wait for each other.
//   C3. a reader that says it sleeps has looked at the ring once more after saying so; nothing is left lying.
import { type Clock, Deque } from "@tray/common";
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { readerAsleep, readerBlocked, RingReader, RingWriter } from "./ring.js";

const largeMarker = 255;
const drainMax = 1024;
const retryMs = 2;

export interface ChannelPorts {
  readonly outgoing: SharedArrayBuffer;
  readonly incoming: SharedArrayBuffer;
  /** Carries empty messages that wake the other side's event loop. */
  readonly wake: MessagePort;
  /** Carries records that are too large for a ring; read synchronously, never listened to. */
  readonly large: MessagePort;
}

export class ThreadChannel {
  private readonly writer: RingWriter;
  private readonly reader: RingReader;
  private readonly overflow = new Deque<Uint8Array>();
  private readonly marker = Uint8Array.of(largeMarker);
  private draining = false;
  private closed = false;
  private retryPending = false;

  constructor(
    private readonly ports: ChannelPorts,
    /** Gets each record as a place in memory that is valid only during the call. */
    private readonly handle: (memory: Buffer, start: number) => void,
    private readonly options: { mayBlock: boolean; clock: Clock; afterDrain?: () => void },
  ) {
    this.writer = new RingWriter(ports.outgoing);
    this.reader = new RingReader(ports.incoming);
  }

  /** Begins to read. Until then records wait in the ring. */
  start(): void {
    this.ports.wake.on("message", this.onWake);
    this.onWake();
  }

  /** Sends `bytes[0, length)`; copied before this returns. */
  send(bytes: Uint8Array, length: number): void {
    if (this.closed) return;
    if (length > this.writer.recordMax) {
      this.sendLarge(copyOf(bytes, length));
      return;
    }
    if (this.overflow.length > 0 || !this.writer.push(bytes, length)) {
      if (!this.options.mayBlock) {
        this.overflow.push(copyOf(bytes, length)); // C2
        this.scheduleRetry();
        return;
      }
      do {
        this.wakeReader();
        this.writer.waitForRoom(retryMs);
      } while (!this.closed && !this.writer.push(bytes, length));
    }
    this.wakeReader();
  }

  /** Sends a record of any size, giving away its memory when it is large. `bytes` must own its whole buffer. */
  sendLarge(bytes: Uint8Array): void {
    if (this.closed) return;
    const owned = bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength ? bytes : copyOf(bytes, bytes.byteLength);
    this.ports.large.postMessage(owned, [owned.buffer as ArrayBuffer]);
    this.send(this.marker, 1); // C1
  }

  /** Reads what is there, then blocks up to `timeoutMs` for more and reads that. For the user's thread inside getSync. */
  blockAndDrain(timeoutMs: number): void {
    if (this.reader.drain(this.onRecord, drainMax) === 0) {
      this.reader.block(timeoutMs);
      this.reader.drain(this.onRecord, drainMax);
    }
    // Blocking ended the sleep of the event loop's reader: put it back to sleep, or what comes next would wake nobody (C3).
    if (!this.draining && !this.reader.fallAsleep()) this.options.clock.endOfTurn(this.onWake);
  }

  /** Keeps the process alive while something is awaited. */
  ref(): void {
    this.ports.wake.ref();
  }
  unref(): void {
    this.ports.wake.unref();
  }

  close(): void {
    this.closed = true;
    this.ports.wake.close();
    this.ports.large.close();
  }

  private readonly onWake = (): void => {
    if (this.draining || this.closed) return;
    this.draining = true;
    try {
      const count = this.reader.drain(this.onRecord, drainMax);
      if (count > 0) this.options.afterDrain?.();
      if (count === drainMax || !this.reader.fallAsleep()) this.options.clock.endOfTurn(this.onWake); // C3; a turn for others between batches
    } finally {
      this.draining = false;
    }
  };

  private readonly onRecord = (start: number, length: number): void => {
    const { memory } = this.reader;
    if (length !== 1 || memory[start] !== largeMarker) {
      this.handle(memory, start);
      return;
    }
    const received = receiveMessageOnPort(this.ports.large) as { message: Uint8Array } | undefined;
    if (received === undefined) throw new Error("a large record is missing");
    const { message } = received;
    this.handle(Buffer.from(message.buffer, message.byteOffset, message.byteLength), 0);
  };

  private wakeReader(): void {
    const state = this.writer.takeReaderState();
    if (state === readerAsleep) this.ports.wake.postMessage(0);
    else if (state === readerBlocked) this.writer.notifyBlockedReader();
  }

  private scheduleRetry(): void {
    if (this.retryPending || this.closed) return;
    this.retryPending = true;
    this.options.clock.after(retryMs, () => {
      this.retryPending = false;
      for (let next = this.overflow.peek(); next !== undefined; next = this.overflow.peek()) {
        if (!this.writer.push(next, next.length)) break;
        this.overflow.shift();
      }
      this.wakeReader();
      if (this.overflow.length > 0) this.scheduleRetry();
    });
  }
}

/** A copy with memory of its own (a Buffer's slice would be a view). */
function copyOf(bytes: Uint8Array, length: number): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, 0, length);
}
