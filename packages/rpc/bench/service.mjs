import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { defineService, method, oneWay } from "@tray/protocol";

/** message Bytes { bytes bytes = 1; }, as ts-proto would generate it. */
const Bytes = {
  encode(message, writer = new BinaryWriter()) {
    if (message.bytes.length !== 0) writer.uint32(10).bytes(message.bytes);
    return writer;
  },
  decode(input, length) {
    const reader = input instanceof BinaryReader ? input : new BinaryReader(input);
    const end = length === undefined ? reader.len : reader.pos + length;
    const message = { bytes: new Uint8Array(0) };
    while (reader.pos < end) {
      const tag = reader.uint32();
      if (tag === 10) message.bytes = reader.bytes();
      else reader.skip(tag & 7);
    }
    return message;
  },
};

export const BenchService = defineService("bench", { push: oneWay(Bytes), echo: method(Bytes, Bytes), count: method(Bytes, Bytes) });
const asIs = (frame) => frame;
export const bareMethod = {
  path: "/bench/Echo",
  requestStream: true,
  responseStream: true,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
};
export const peerInfo = (kind, id) => ({ kind, id, incarnation: `${process.pid}`, version: "0.1.0", nodeVersion: process.versions.node });
