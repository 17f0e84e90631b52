// A small service for tests, with a codec as ts-proto would generate it.
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { defineService, type MessageCodec, method, oneWay, type PeerInfo, type PeerKind } from "@tray/protocol";

export interface Note {
  n: number;
  text: string;
}

export const NoteCodec: MessageCodec<Note> = {
  encode(message, writer = new BinaryWriter()) {
    if (message.n !== 0) writer.uint32(8).uint32(message.n);
    if (message.text !== "") writer.uint32(18).string(message.text);
    return writer;
  },
  decode(input, length) {
    const reader = input instanceof BinaryReader ? input : new BinaryReader(input);
    const end = length === undefined ? reader.len : reader.pos + length;
    const message = { n: 0, text: "" };
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag === 8) message.n = reader.uint32();
      else if (tag === 18) message.text = reader.string();
      else reader.skip(tag & 7);
    }
    return message;
  },
};

export const PingService = defineService("ping", {
  echo: method(NoteCodec, NoteCodec),
  once: method(NoteCodec, NoteCodec, { idempotent: false }),
  tell: oneWay(NoteCodec),
});

export const note = (n: number, text = ""): Note => ({ n, text });

export function peer(kind: PeerKind, id: string, more: Partial<PeerInfo> = {}): PeerInfo {
  return { kind, id, incarnation: `${id}-1`, version: "0.1.0", nodeVersion: "20.20.2", ...more };
}
