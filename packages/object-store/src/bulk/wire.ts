// The bulk protocol: fixed-size frames, one request at a time on a connection, then raw bytes. All numbers big-endian.
//
//   request  (96)  magic u32 · version u8 · kind u8 · flags u16 · request id u32 · object id 20 bytes · token proof 32 bytes · offset u64 · length u64 · node id 16 bytes
//   response (48)  magic u32 · version u8 · status u8 · flags u16 · request id u32 · 0 u32 · object size u64 · length u64 · node id 16 bytes, then `length` bytes
import { createHash } from "node:crypto";

export const requestBytes = 96;
export const responseBytes = 48;
const magic = 0x5452_424b; // "TRBK"
const version = 2;
const kindPull = 1;
const flagMayRedirect = 1;
const flagTakesPartial = 2;
const flagReceiving = 1;
const nodeIdDigits = 32;

export type BulkStatus = "ok" | "notFound" | "unauthenticated" | "invalid" | "unavailable" | "elsewhere";
const statuses: readonly BulkStatus[] = ["ok", "notFound", "unauthenticated", "invalid", "unavailable", "elsewhere"];

export interface BulkRequestFrame {
  readonly requestId: number;
  readonly objectId: string;
  readonly proof: Uint8Array;
  readonly offset: number;
  readonly length: number;
  /** Who asks: 32 hex digits. */
  readonly nodeId: string;
  readonly mayRedirect: boolean;
  readonly takesPartial: boolean;
}

export interface BulkResponseFrame {
  readonly requestId: number;
  readonly status: BulkStatus;
  /** Total bytes of the object; 0 unless ok or invalid. */
  readonly size: number;
  /** Bytes that follow; 0 unless ok. */
  readonly length: number;
  /** Whom to ask: 32 hex digits, zeros unless elsewhere. */
  readonly nodeId: string;
  /** The one to ask is being sent the object. */
  readonly receiving: boolean;
}

export const noNodeId = "0".repeat(nodeIdDigits);

/** What a request carries instead of the token: of one length, so that comparing takes one time. Not a defence against eavesdroppers; TLS is. */
export function proofOf(token: string): Buffer {
  return createHash("sha256").update("tray bulk v1\0").update(token).digest();
}

export function encodeRequest(request: BulkRequestFrame): Buffer {
  const frame = Buffer.alloc(requestBytes);
  frame.writeUInt32BE(magic, 0);
  frame.writeUInt8(version, 4);
  frame.writeUInt8(kindPull, 5);
  frame.writeUInt16BE((request.mayRedirect ? flagMayRedirect : 0) | (request.takesPartial ? flagTakesPartial : 0), 6);
  frame.writeUInt32BE(request.requestId, 8);
  frame.write(request.objectId, 12, 20, "hex");
  frame.set(request.proof, 32);
  frame.writeBigUInt64BE(BigInt(request.offset), 64);
  frame.writeBigUInt64BE(BigInt(request.length), 72);
  frame.write(request.nodeId, 80, nodeIdDigits / 2, "hex");
  return frame;
}

/** `undefined` for anything that is not a well-formed request. */
export function decodeRequest(frame: Buffer): BulkRequestFrame | undefined {
  if (frame.readUInt32BE(0) !== magic || frame.readUInt8(4) !== version || frame.readUInt8(5) !== kindPull) return undefined;
  const offset = readSize(frame, 64);
  const length = readSize(frame, 72);
  if (offset === undefined || length === undefined) return undefined;
  const flags = frame.readUInt16BE(6);
  return {
    requestId: frame.readUInt32BE(8),
    objectId: frame.toString("hex", 12, 32),
    proof: frame.subarray(32, 64),
    offset,
    length,
    nodeId: frame.toString("hex", 80, 96),
    mayRedirect: (flags & flagMayRedirect) !== 0,
    takesPartial: (flags & flagTakesPartial) !== 0,
  };
}

export function encodeResponse(response: BulkResponseFrame): Buffer {
  const frame = Buffer.alloc(responseBytes);
  frame.writeUInt32BE(magic, 0);
  frame.writeUInt8(version, 4);
  frame.writeUInt8(statuses.indexOf(response.status), 5);
  frame.writeUInt16BE(response.receiving ? flagReceiving : 0, 6);
  frame.writeUInt32BE(response.requestId, 8);
  frame.writeBigUInt64BE(BigInt(response.size), 16);
  frame.writeBigUInt64BE(BigInt(response.length), 24);
  frame.write(response.nodeId, 32, nodeIdDigits / 2, "hex");
  return frame;
}

const begin = Buffer.from([magic >>> 24, (magic >>> 16) & 0xff, (magic >>> 8) & 0xff, magic & 0xff, version]);

/** Whether `received`, perhaps the beginning of a frame only, may become one: something else on that port may say less than a frame and wait. */
export const mayBeFrame = (received: Buffer): boolean => begin.subarray(0, received.length).equals(received.subarray(0, begin.length));

/** `undefined` for anything that is not a well-formed response. */
export function decodeResponse(frame: Buffer): BulkResponseFrame | undefined {
  if (frame.readUInt32BE(0) !== magic || frame.readUInt8(4) !== version) return undefined;
  const status = statuses[frame.readUInt8(5)];
  const size = readSize(frame, 16);
  const length = readSize(frame, 24);
  if (status === undefined || size === undefined || length === undefined || (status !== "ok" && length !== 0)) return undefined;
  return {
    requestId: frame.readUInt32BE(8),
    status,
    size,
    length,
    nodeId: frame.toString("hex", 32, 48),
    receiving: (frame.readUInt16BE(6) & flagReceiving) !== 0,
  };
}

function readSize(frame: Buffer, at: number): number | undefined {
  const value = frame.readBigUInt64BE(at);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined;
}
