// The bytes of the session protocol. All integers little-endian; u53 is a u64 whose upper 11 bits are zero.
//
//   frame    = data | ack | hello | welcome | refuse | bye
//   data     = 0x01 number:u53 ack:u53 envelope*      numbered 1, 2, …; kept by its sender until acknowledged
//   ack      = 0x02 flags:u8 ack:u53                  not numbered; flags bit 0: please answer (a sign of life is wanted)
//   hello    = 0x03 json                              dialler's first frame (handshake.ts)
//   welcome  = 0x04 json                              acceptor's answer; data flows after it, both ways
//   refuse   = 0x05 json                              or its refusal, after which it ends the link
//   bye      = 0x06 json                              the sender's session is over; nothing follows
//
//   envelope = 0x01 id:u32 method:u32 length:u32 payload     request
//            | 0x02 id:u32 length:u32 payload                reply
//            | 0x03 id:u32 length:u32 payload                error (wire-error.ts)
//            | 0x04 method:u32 length:u32 payload            one-way message
//            | 0x05 id:u32                                   cancel: the caller of request `id` no longer waits
//
// `ack` is cumulative: every data frame up to that number was delivered. Request ids are the caller's own; each direction has its own.
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { invariant } from "@tray/common";
import type { MessageCodec } from "@tray/protocol";

export const FrameType = { data: 1, ack: 2, hello: 3, welcome: 4, refuse: 5, bye: 6 } as const;
export const EnvelopeKind = { request: 1, reply: 2, error: 3, oneWay: 4, cancel: 5 } as const;

const numberAt = 1;
const ackAt = 9;
export const dataHeaderBytes = 17;
const ackFrameBytes = 10;

function writeU53(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, value >>> 0);
  writeU32(bytes, at + 4, Math.floor(value / 0x1_0000_0000));
}

function readU53(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 4) * 0x1_0000_0000 + readU32(bytes, at);
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export const stampNumber = (frame: Uint8Array, number: number): void => writeU53(frame, numberAt, number);
export const stampAck = (frame: Uint8Array, ack: number): void => writeU53(frame, ackAt, ack);
export const numberOf = (frame: Uint8Array): number => readU53(frame, numberAt);
export const ackOf = (frame: Uint8Array): number => readU53(frame, frame[0] === FrameType.ack ? 2 : ackAt);
export const wantsAnswer = (frame: Uint8Array): boolean => frame[0] === FrameType.ack && (frame[1]! & 1) === 1;
/** Long enough for its header, so that the accessors above read inside it. */
export const hasHeader = (frame: Uint8Array): boolean =>
  frame.length >= (frame[0] === FrameType.data ? dataHeaderBytes : frame[0] === FrameType.ack ? ackFrameBytes : 1);

export function ackFrame(ack: number, answerWanted: boolean): Uint8Array {
  const frame = new Uint8Array(ackFrameBytes);
  frame[0] = FrameType.ack;
  frame[1] = answerWanted ? 1 : 0;
  writeU53(frame, 2, ack);
  return frame;
}

export function jsonFrame(type: number, value: unknown): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(value));
  const frame = new Uint8Array(1 + text.length);
  frame[0] = type;
  frame.set(text, 1);
  return frame;
}

/** The value of a hello, welcome, refuse or bye frame. Throws SyntaxError when it is not JSON. */
export function jsonOf(frame: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(frame.subarray(1)));
}

/** What the writer below needs of BinaryWriter beyond its public face: where it stands, and its bytes. Checked when one is made. */
interface WriterInternals {
  buffer: Uint8Array;
  pos: number;
  stackPos: number[];
  ensureCapacity(bytes: number): void;
}

/**
 * Builds one data frame after another. Messages are encoded straight into the frame and their length is written afterwards, so a payload
 * is copied once (into the kept frame, by `finish`). Not public in BinaryWriter but pinned and tested: position and buffer.
 */
export class FrameWriter {
  private readonly writer = new BinaryWriter();
  private readonly inner = this.writer as unknown as WriterInternals;

  constructor() {
    const { inner } = this;
    invariant(
      typeof inner.pos === "number" &&
        inner.buffer instanceof Uint8Array &&
        Array.isArray(inner.stackPos) &&
        typeof inner.ensureCapacity === "function",
      "this version of @bufbuild/protobuf keeps its BinaryWriter's position elsewhere: adapt FrameWriter",
    );
  }

  get length(): number {
    return this.inner.pos;
  }
  /** Bytes that the writer holds on to between frames. */
  get capacity(): number {
    return this.inner.buffer.length;
  }

  begin(): void {
    const { inner } = this;
    inner.pos = 0;
    inner.ensureCapacity(dataHeaderBytes);
    inner.buffer[0] = FrameType.data;
    inner.pos = dataHeaderBytes;
  }

  request<T>(id: number, methodId: number, codec: MessageCodec<T>, message: T): number {
    return this.envelope(EnvelopeKind.request, id, methodId, codec, message);
  }
  reply<T>(id: number, codec: MessageCodec<T>, message: T): number {
    return this.envelope(EnvelopeKind.reply, id, undefined, codec, message);
  }
  oneWay<T>(methodId: number, codec: MessageCodec<T>, message: T): number {
    return this.envelope(EnvelopeKind.oneWay, undefined, methodId, codec, message);
  }
  error(id: number, payload: Uint8Array): void {
    const at = this.head(EnvelopeKind.error, id, undefined);
    this.writer.raw(payload);
    writeU32(this.inner.buffer, at, payload.length);
  }
  cancel(id: number): void {
    const { inner } = this;
    inner.ensureCapacity(5);
    inner.buffer[inner.pos] = EnvelopeKind.cancel;
    writeU32(inner.buffer, inner.pos + 1, id);
    inner.pos += 5;
  }
  /** Takes back everything from `position` on. */
  truncate(position: number): void {
    this.inner.pos = position;
    this.inner.stackPos.length = 0; // an encoder that threw may have left forks open
  }
  /** The frame, in bytes of its own; the header's number and ack are for its sender to stamp. */
  finish(): Uint8Array {
    return this.writer.finish();
  }

  /** Returns the length of the payload. When the codec throws, the frame is as it was before. */
  private envelope<T>(kind: number, id: number | undefined, methodId: number | undefined, codec: MessageCodec<T>, message: T): number {
    const start = this.inner.pos;
    const lengthAt = this.head(kind, id, methodId);
    try {
      codec.encode(message, this.writer);
    } catch (error) {
      this.truncate(start);
      throw error;
    }
    const length = this.inner.pos - lengthAt - 4;
    writeU32(this.inner.buffer, lengthAt, length);
    return length;
  }

  /** Writes an envelope up to its payload; returns where the length goes. */
  private head(kind: number, id: number | undefined, methodId: number | undefined): number {
    const { inner } = this;
    inner.ensureCapacity(13);
    const { buffer } = inner;
    let at = inner.pos;
    buffer[at++] = kind;
    if (id !== undefined) {
      writeU32(buffer, at, id);
      at += 4;
    }
    if (methodId !== undefined) {
      writeU32(buffer, at, methodId);
      at += 4;
    }
    inner.pos = at + 4;
    return at;
  }
}

/** Walks the envelopes of a data frame. Throws RangeError on bytes that are no frame. */
export class FrameReader {
  /** Positioned at the payload after `next`; decoders read `length` bytes from here. */
  readonly payload: BinaryReader;
  kind = 0;
  id = 0;
  methodId = 0;
  length = 0;
  private at = dataHeaderBytes;

  constructor(private readonly frame: Uint8Array) {
    this.payload = new BinaryReader(frame);
  }

  /** Moves to the next envelope; false at the end. */
  next(): boolean {
    const { frame } = this;
    let at = this.at;
    if (at === frame.length) return false;
    const kind = (this.kind = frame[at]!);
    at += 1;
    this.length = 0;
    if (kind !== EnvelopeKind.oneWay) {
      this.id = readU32(frame, at);
      at += 4;
    }
    if (kind === EnvelopeKind.request || kind === EnvelopeKind.oneWay) {
      this.methodId = readU32(frame, at);
      at += 4;
    }
    if (kind !== EnvelopeKind.cancel) {
      this.length = readU32(frame, at);
      at += 4;
    }
    if (kind < 1 || kind > EnvelopeKind.cancel || at + this.length > frame.length)
      throw new RangeError(`malformed frame: envelope kind ${kind} at ${this.at}`);
    this.payload.pos = at;
    this.at = at + this.length;
    return true;
  }

  /** The payload as a view on the frame. */
  bytes(): Uint8Array {
    return this.frame.subarray(this.at - this.length, this.at);
  }
}
