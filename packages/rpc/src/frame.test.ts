import { BinaryWriter } from "@bufbuild/protobuf/wire";
import * as fc from "fast-check";
import { NoteCodec } from "../test/ping-service.js";
import { ackFrame, ackOf, dataHeaderBytes, EnvelopeKind, FrameReader, FrameWriter, numberOf, stampAck, stampNumber, wantsAnswer } from "./frame.js";

describe("frames", () => {
  const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
  const text = fc.oneof(fc.string(), fc.string({ minLength: 120, maxLength: 140 }), fc.constant("é".repeat(5000)));
  const envelope = fc.oneof(
    fc.record({ kind: fc.constant("request" as const), id: u32, methodId: u32, n: u32, text }),
    fc.record({ kind: fc.constant("reply" as const), id: u32, n: u32, text }),
    fc.record({ kind: fc.constant("oneWay" as const), methodId: u32, n: u32, text }),
    fc.record({ kind: fc.constant("error" as const), id: u32, bytes: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ kind: fc.constant("cancel" as const), id: u32 }),
  );

  it("come out as they went in, whatever is in them", () => {
    const writer = new FrameWriter(); // reused, as endpoints do
    fc.assert(
      fc.property(fc.array(envelope, { maxLength: 12 }), (envelopes) => {
        writer.begin();
        for (const e of envelopes) {
          if (e.kind === "request") writer.request(e.id, e.methodId, NoteCodec, e);
          else if (e.kind === "reply") writer.reply(e.id, NoteCodec, e);
          else if (e.kind === "oneWay") writer.oneWay(e.methodId, NoteCodec, e);
          else if (e.kind === "error") writer.error(e.id, e.bytes);
          else writer.cancel(e.id);
        }
        const reader = new FrameReader(writer.finish());
        for (const e of envelopes) {
          expect(reader.next()).toBe(true);
          expect(reader.kind).toBe(EnvelopeKind[e.kind]);
          if ("id" in e) expect(reader.id).toBe(e.id);
          if ("methodId" in e) expect(reader.methodId).toBe(e.methodId);
          if ("n" in e) expect(NoteCodec.decode(reader.payload, reader.length)).toEqual({ n: e.n, text: e.text });
          if (e.kind === "error") expect(Buffer.from(reader.bytes())).toEqual(Buffer.from(e.bytes));
        }
        expect(reader.next()).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it("carry numbers beyond 32 bits", () => {
    const writer = new FrameWriter();
    writer.begin();
    const frame = writer.finish();
    stampNumber(frame, 2 ** 40 + 7);
    stampAck(frame, 2 ** 52 + 1);
    expect(numberOf(frame)).toBe(2 ** 40 + 7);
    expect(ackOf(frame)).toBe(2 ** 52 + 1);
    const ack = ackFrame(2 ** 33 + 5, true);
    expect([ackOf(ack), wantsAnswer(ack), wantsAnswer(ackFrame(1, false))]).toEqual([2 ** 33 + 5, true, false]);
  });

  it("lose nothing of the others when one encoder throws half way", () => {
    const writer = new FrameWriter();
    writer.begin();
    writer.oneWay(1, NoteCodec, { n: 1, text: "before" });
    const broken = {
      encode: (_: unknown, w = new BinaryWriter()) => {
        w.uint32(10).fork().uint32(99); // leaves a fork open
        throw new Error("no");
      },
      decode: () => undefined,
    };
    expect(() => writer.oneWay(2, broken, {})).toThrow("no");
    writer.oneWay(3, NoteCodec, { n: 3, text: "after" });
    const reader = new FrameReader(writer.finish());
    const ids: number[] = [];
    while (reader.next()) ids.push(reader.methodId);
    expect(ids).toEqual([1, 3]);
  });

  it("are refused when cut anywhere but between envelopes, and when of unknown kind", () => {
    const writer = new FrameWriter();
    writer.begin();
    const boundaries = new Set([dataHeaderBytes]);
    for (let i = 0; i < 3; i++) {
      writer.request(i, 7, NoteCodec, { n: i, text: "abc" });
      boundaries.add(writer.length);
    }
    const frame = writer.finish();
    const walk = (bytes: Uint8Array) => () => {
      const reader = new FrameReader(bytes);
      while (reader.next());
    };
    for (let length = dataHeaderBytes; length <= frame.length; length++) {
      if (boundaries.has(length)) expect(walk(frame.slice(0, length))).not.toThrow();
      else expect(walk(frame.slice(0, length))).toThrow(RangeError);
    }
    frame[dataHeaderBytes] = 9;
    expect(walk(frame)).toThrow(RangeError);
  });
});
