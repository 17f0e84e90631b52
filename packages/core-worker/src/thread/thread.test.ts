import { MessageChannel } from "node:worker_threads";
import { systemClock } from "@tray/common";
import fc from "fast-check";
import { ThreadChannel } from "./channel.js";
import { RecordReader, RecordWriter } from "./record.js";
import { createRingBuffer, RingReader, RingWriter } from "./ring.js";
import { dispatchToCore, type ToCore, ToCoreSender } from "./to-core.js";
import { dispatchToUser, type ToUser, ToUserSender } from "./to-user.js";

describe("ring", () => {
  it("R1–R3: hands out every record unchanged and in order, however reads and writes interleave", () => {
    const step = fc.oneof(fc.record({ write: fc.nat(120) }), fc.record({ read: fc.nat(5) }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const shared = createRingBuffer(1024);
        const writer = new RingWriter(shared);
        const reader = new RingReader(shared);
        const expected: number[][] = [];
        const seen: number[][] = [];
        let next = 0;
        const read = (max: number): void => {
          reader.drain((start, length) => seen.push([...reader.memory.subarray(start, start + length)]), max);
        };
        for (const one of steps) {
          if ("read" in one) read(one.read);
          else {
            const bytes = Uint8Array.from({ length: one.write }, () => next++ & 0xff);
            if (writer.push(bytes, bytes.length)) expected.push([...bytes]);
          }
        }
        read(1000);
        expect(seen).toEqual(expected);
        expect(reader.empty).toBe(true);
      }),
    );
  });
});

function channels(
  onLeft: (bytes: Buffer) => void,
  onRight: (bytes: Buffer) => void,
): { left: ThreadChannel; right: ThreadChannel; close: () => void } {
  const [a, b] = [createRingBuffer(4096), createRingBuffer(4096)];
  const wake = new MessageChannel();
  const large = new MessageChannel();
  const of = (fn: (bytes: Buffer) => void) => (memory: Buffer, start: number) => fn(memory.subarray(start));
  const left = new ThreadChannel({ outgoing: a, incoming: b, wake: wake.port1, large: large.port1 }, of(onLeft), {
    mayBlock: false,
    clock: systemClock,
  });
  const right = new ThreadChannel({ outgoing: b, incoming: a, wake: wake.port2, large: large.port2 }, of(onRight), {
    mayBlock: false,
    clock: systemClock,
  });
  return {
    left,
    right,
    close: () => {
      left.close();
      right.close();
    },
  };
}

describe("ThreadChannel", () => {
  it("C1, C2: keeps the order of small, large and overflowing records", async () => {
    const sizes = [10, 600, 5000, 3, 100_000, 500, ...Array.from({ length: 60 }, (_, i) => 100 + i), 9000, 1];
    const seen: number[] = [];
    await new Promise<void>((resolve) => {
      const { left, right, close } = channels(
        () => undefined,
        (bytes) => {
          seen.push(bytes.readUInt32LE(1));
          if (seen.length === sizes.length) {
            close();
            resolve();
          }
        },
      );
      right.start();
      sizes.forEach((size, i) => {
        const record = Buffer.alloc(Math.max(8, size), 7);
        record.writeUInt32LE(i, 1);
        left.send(record, record.length);
      });
    });
    expect(seen).toEqual(sizes.map((_, i) => i));
  });
});

describe("records", () => {
  it("read back what was written", () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.nat(),
        fc.double(),
        fc.string({ unit: "grapheme" }),
        fc.uint8Array({ maxLength: 300 }),
        fc.array(fc.nat()),
        (u8, u32, f64, text, data, list) => {
          const w = new RecordWriter().reset(9).u8(u8).u32(u32).f64(f64).text(text).data(data).list(list);
          const r = new RecordReader();
          expect(r.start(w.bytes, 0)).toBe(9);
          expect([r.u8(), r.u32(), r.f64(), r.text(), [...r.data()], [...r.list()]]).toEqual([u8, u32, f64, text, [...data], list]);
        },
      ),
    );
  });

  const recorder = (): { calls: unknown[]; target: object } => {
    const calls: unknown[] = [];
    const target = new Proxy(
      {},
      {
        get:
          (_, name) =>
          (...args: unknown[]) =>
            void calls.push([name, ...args]),
      },
    );
    return { calls, target };
  };
  const loop = (dispatch: (memory: Buffer, start: number) => void) => ({ send: (bytes: Buffer) => dispatch(bytes, 0) }) as unknown as ThreadChannel;

  it("carry every message to the core unchanged", () => {
    const { calls, target } = recorder();
    const sender = new ToCoreSender(loop((memory, start) => dispatchToCore(new RecordReader(), memory, start, target as ToCore)));
    const bytes = Buffer.from([1, 2, 3]);
    const messages: [keyof ToCore, ...unknown[]][] = [
      ["putFunction", "f", bytes],
      ["submit", 1, 2 ** 35, 3, 4, bytes, [5, 6], []],
      ["get", 1, true, [1, 2]],
      ["wait", 1, false, 2, true, [3]],
      ["forget", 7],
      ["put", 1, 2, bytes, [9]],
      ["putLarge", 1, 2, bytes, [9]],
      ["create", 1, 2, 3, "id", 4e9, [5]],
      ["seal", 1, "id"],
      ["adopt", 1, "id", "w", "n", "e"],
      ["release", [1, 2, 3]],
      ["unpin", [4]],
      [
        "finished",
        1,
        4,
        77,
        [
          { value: bytes, size: 3, contained: [1] },
          { value: undefined, size: 5e9, contained: [] },
        ],
        bytes,
        "because",
      ],
      ["cancel", 1, true, false],
      ["call", 1, "nodes", "{}"],
    ];
    for (const [name, ...args] of messages) (sender[name] as (...a: unknown[]) => void).apply(sender, args);
    expect(calls).toEqual(messages);
  });

  it("carry every message to the user's thread unchanged", () => {
    const { calls, target } = recorder();
    const sender = new ToUserSender(loop((memory, start) => dispatchToUser(new RecordReader(), memory, start, target as ToUser)));
    const bytes = Buffer.from([9, 8]);
    const failure = { code: "SYSTEM", message: "m", hint: "h", detailsJson: "{}", cause: bytes };
    const messages: [keyof ToUser, ...unknown[]][] = [
      ["ready", 1, 2, { kind: "value", value: bytes }],
      ["ready", 1, 2, { kind: "stored", pinId: 3, offset: 2 ** 40, size: 5 }],
      ["ready", 1, 2, { kind: "failed", failure }],
      ["reply", 1, false, "{}"],
      ["execute", 1, 2, 3, 2 ** 34, 5, bytes, [{ kind: "value", value: bytes }]],
      ["loadFunction", "f", bytes],
      ["cancelExec", 4],
      ["lost", failure],
      ["exit", 3],
    ];
    for (const [name, ...args] of messages) (sender[name] as (...a: unknown[]) => void).apply(sender, args);
    expect(calls).toEqual(messages);
  });
});
