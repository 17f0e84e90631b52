// A byte ring between two threads: one writer, one reader, shared memory, no locks.
//
// Owns:     the two cursors and the reader's state word.
// Not mine: what records mean (messages.ts), how a sleeping reader is woken (channel.ts).
//
// Layout: Int32 control words, then the bytes. Cursors count bytes modulo 2^32 and never wrap to the buffer's size, so that
// "full" and "empty" differ; the capacity is a power of two. A record is a 4-byte length and its payload, padded to 4 bytes; a length
// of `wrapMark` means "the rest of the buffer is unused, go on at the start".
//
// Invariants
//   R1. head (written by the writer) − tail (written by the reader) is at most the capacity.
//   R2. a record is visible only after its bytes are: the head moves last, by an atomic store.
//   R3. a record never wraps: the reader hands out contiguous views.
import { invariant } from "@tray/common";

const HEAD = 0;
const TAIL = 1;
const READER = 2;
const controlBytes = 64;
const wrapMark = 0xffffffff;

/** What the reader does when there is nothing to read. */
export const readerAwake = 0;
export const readerAsleep = 1; // in its event loop: a wake message must be posted
export const readerBlocked = 2; // in Atomics.wait on the head: notify

export const ringBytes = 1 << 22;

export function createRingBuffer(capacity = ringBytes): SharedArrayBuffer {
  invariant((capacity & (capacity - 1)) === 0, "a ring's capacity is a power of two");
  return new SharedArrayBuffer(controlBytes + capacity);
}

class RingEnd {
  protected readonly control: Int32Array;
  protected readonly bytes: Buffer;
  protected readonly capacity: number;
  constructor(shared: SharedArrayBuffer) {
    this.control = new Int32Array(shared, 0, controlBytes / 4);
    this.bytes = Buffer.from(shared, controlBytes);
    this.capacity = shared.byteLength - controlBytes;
  }
}

export class RingWriter extends RingEnd {
  /** Records longer than this are refused: they travel by message port. */
  readonly recordMax: number;
  private head: number;

  constructor(shared: SharedArrayBuffer) {
    super(shared);
    this.recordMax = this.capacity >>> 3;
    this.head = Atomics.load(this.control, HEAD) >>> 0;
  }

  /** Copies `payload[0, length)` into the ring. False when there is no room now. */
  push(payload: Uint8Array, length: number): boolean {
    const need = 4 + ((length + 3) & ~3);
    const at = this.head & (this.capacity - 1);
    const toEnd = this.capacity - at;
    const skip = need > toEnd ? toEnd : 0; // R3
    const tail = Atomics.load(this.control, TAIL) >>> 0;
    const used = (this.head - tail) >>> 0;
    if (used + skip + need > this.capacity) return false; // R1
    let start = at;
    if (skip > 0) {
      this.bytes.writeUInt32LE(wrapMark, at);
      start = 0;
    }
    this.bytes.writeUInt32LE(length, start);
    if (length > 0) this.bytes.set(payload.length === length ? payload : payload.subarray(0, length), start + 4);
    this.head = (this.head + skip + need) >>> 0;
    Atomics.store(this.control, HEAD, this.head | 0); // R2
    return true;
  }

  /** The reader's state; a sleeping or blocked one is marked awake by this, so it is woken once. */
  takeReaderState(): number {
    if (Atomics.load(this.control, READER) === readerAwake) return readerAwake;
    return Atomics.exchange(this.control, READER, readerAwake);
  }

  notifyBlockedReader(): void {
    Atomics.notify(this.control, HEAD);
  }

  /** Blocks this thread until the reader made progress or `timeoutMs` passed. Only for a thread that may block. */
  waitForRoom(timeoutMs: number): void {
    Atomics.wait(this.control, TAIL, Atomics.load(this.control, TAIL), timeoutMs);
  }
}

export class RingReader extends RingEnd {
  private tail: number;

  constructor(shared: SharedArrayBuffer) {
    super(shared);
    this.tail = Atomics.load(this.control, TAIL) >>> 0;
  }

  get empty(): boolean {
    return Atomics.load(this.control, HEAD) >>> 0 === this.tail;
  }

  /** The ring's memory, into which `drain` points. */
  get memory(): Buffer {
    return this.bytes;
  }

  /**
   * Calls `handle` with the place of each record in `memory`, up to `max` records; it is valid only during the call. Answers how many there were.
   * Room is given back after each batch of records, not after each one, to keep the shared cache line quiet.
   */
  drain(handle: (start: number, length: number) => void, max: number): number {
    let count = 0;
    const head = Atomics.load(this.control, HEAD) >>> 0;
    while (this.tail !== head && count < max) {
      let at = this.tail & (this.capacity - 1);
      let length = this.bytes.readUInt32LE(at);
      if (length === wrapMark) {
        this.tail = (this.tail + (this.capacity - at)) >>> 0;
        at = 0;
        length = this.bytes.readUInt32LE(0);
      }
      this.tail = (this.tail + 4 + ((length + 3) & ~3)) >>> 0;
      count++;
      handle(at + 4, length);
      if ((count & 31) === 0) this.publishTail();
    }
    if (count > 0) this.publishTail();
    return count;
  }

  /** Declares that this thread goes to sleep in its event loop. False when there is something to read after all. */
  fallAsleep(): boolean {
    Atomics.store(this.control, READER, readerAsleep);
    if (this.empty) return true;
    Atomics.store(this.control, READER, readerAwake);
    return false;
  }

  /** Blocks this thread until there is something to read or `timeoutMs` passed. */
  block(timeoutMs: number): void {
    Atomics.store(this.control, READER, readerBlocked);
    if (this.empty) Atomics.wait(this.control, HEAD, this.tail | 0, timeoutMs);
    Atomics.store(this.control, READER, readerAwake);
  }

  private publishTail(): void {
    Atomics.store(this.control, TAIL, this.tail | 0);
    Atomics.notify(this.control, TAIL);
  }
}
