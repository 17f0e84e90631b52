import * as fc from "fast-check";
import { ackOf, dataHeaderBytes, numberOf } from "../frame.js";
import { StreamCore } from "./stream-core.js";

/** A frame that says what it is in its last four bytes. */
function frameOf(tag: number, bytes = dataHeaderBytes + 4): Uint8Array {
  const frame = new Uint8Array(bytes);
  new DataView(frame.buffer).setUint32(bytes - 4, tag);
  return frame;
}
const tagOf = (frame: Uint8Array): number => new DataView(frame.buffer, frame.byteOffset).getUint32(frame.length - 4);

describe("StreamCore", () => {
  it("numbers from 1, stamps what it has received, and keeps frames until acknowledged (N1, N3)", () => {
    const core = new StreamCore(1000);
    for (const tag of [10, 11, 12]) core.push(frameOf(tag));
    expect(core.onFrame(1, 50)).toBe("deliver");
    expect([1, 2, 3].map(() => core.take()).map((f) => f && [numberOf(f), ackOf(f), tagOf(f)])).toEqual([
      [1, 1, 10],
      [2, 1, 11],
      [3, 1, 12],
    ]);
    expect(core.take()).toBeUndefined();
    expect(core.keptBytes).toBe(63);
    expect(core.onAck(2)).toBe(true);
    expect(core.keptBytes).toBe(21);
    expect(core.onAck(1)).toBe(true); // an old one means nothing
    expect(core.keptBytes).toBe(21);
  });

  it("delivers each number once and in order (N2)", () => {
    const core = new StreamCore(1000);
    expect([1, 1, 3, 2, 2, 3].map((n) => core.onFrame(n, 10))).toEqual(["deliver", "duplicate", "gap", "deliver", "duplicate", "deliver"]);
    expect(core.received).toBe(3);
  });

  it("sends no more than the window, but a frame larger than it alone (N4)", () => {
    const core = new StreamCore(50);
    core.push(frameOf(1));
    core.push(frameOf(2));
    core.push(frameOf(3, 200));
    core.push(frameOf(4));
    expect([core.take(), core.take()].map((f) => f && tagOf(f))).toEqual([1, 2]);
    expect(core.take()).toBeUndefined();
    core.onAck(1);
    expect(core.take()).toBeUndefined(); // 21 in flight, 200 to come
    core.onAck(2);
    expect(tagOf(core.take() as Uint8Array)).toBe(3);
    expect(core.take()).toBeUndefined();
    core.onAck(3);
    expect(tagOf(core.take() as Uint8Array)).toBe(4);
  });

  it("refuses an acknowledgement of what was not sent", () => {
    const core = new StreamCore(1000);
    core.push(frameOf(1));
    expect(core.onAck(1)).toBe(false);
    core.take();
    expect(core.onAck(1)).toBe(true);
    expect(core.onAck(2)).toBe(false);
  });

  it("refuses to resume with a peer that claims too much or too little", () => {
    const core = new StreamCore(1000);
    core.push(frameOf(1));
    core.push(frameOf(2));
    core.push(frameOf(3));
    core.take();
    core.take();
    core.onAck(1);
    expect(core.rewind(0, 1000)).toBe(false);
    expect(core.rewind(3, 1000)).toBe(false);
    expect(core.rewind(1, 1000)).toBe(true);
    expect([core.take(), core.take(), core.take()].map((f) => f && [numberOf(f), tagOf(f)])).toEqual([[2, 2], [3, 3], undefined]);
  });

  it("owes an acknowledgement until one leaves, for duplicates too", () => {
    const core = new StreamCore(1000);
    core.onFrame(1, 100);
    core.onFrame(1, 100);
    expect([core.ackOwedFrames, core.ackOwedBytes]).toEqual([2, 200]);
    expect(core.takeAck()).toBe(1);
    expect([core.ackOwedFrames, core.ackOwedBytes]).toEqual([0, 0]);
  });

  // The whole promise of a session, on the cores alone: two of them, a link that keeps order, repeats, and breaks at any point.
  it("delivers exactly once and in order over any series of broken links", () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant("push" as const), side: fc.nat(1), bytes: fc.integer({ min: 21, max: 90 }) }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant("pump" as const), side: fc.nat(1) }) },
      { weight: 10, arbitrary: fc.record({ do: fc.constant("arrive" as const), side: fc.nat(1), twice: fc.boolean() }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant("ack" as const), side: fc.nat(1) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("break" as const) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 250 }), (steps) => {
        const window = 150;
        const cores = [new StreamCore(window), new StreamCore(window)] as const;
        type InFlight = { data: Uint8Array; ack: number } | { data: undefined; ack: number };
        let wires: [InFlight[], InFlight[]] = [[], []]; // wires[s]: towards side s
        const delivered: [number[], number[]] = [[], []];
        const pushed: [number, number] = [0, 0]; // by side
        const core = (side: number) => cores[side as 0 | 1];
        const pump = (side: number): void => {
          for (let f = core(side).take(); f !== undefined; f = core(side).take()) wires[(1 - side) as 0 | 1].push({ data: f, ack: ackOf(f) });
        };
        const arrive = (side: number, twice: boolean): void => {
          const item = wires[side as 0 | 1].shift();
          for (let i = 0; item !== undefined && i < (twice ? 2 : 1); i++) {
            expect(core(side).onAck(item.ack)).toBe(true);
            if (item.data === undefined) continue;
            const verdict = core(side).onFrame(numberOf(item.data), item.data.length);
            expect(verdict).not.toBe("gap");
            if (verdict === "deliver") delivered[side as 0 | 1].push(tagOf(item.data));
          }
        };
        const reconnect = (): void => {
          wires = [[], []];
          const received = [cores[0].received, cores[1].received] as const;
          expect(cores[0].rewind(received[1], window)).toBe(true);
          expect(cores[1].rewind(received[0], window)).toBe(true);
        };
        for (const s of steps) {
          if (s.do === "push") core(s.side).push(frameOf(pushed[s.side as 0 | 1]++, s.bytes));
          else if (s.do === "pump") pump(s.side);
          else if (s.do === "arrive") arrive(s.side, s.twice);
          else if (s.do === "ack") wires[(1 - s.side) as 0 | 1].push({ data: undefined, ack: core(s.side).takeAck() });
          else reconnect();
          for (const side of [0, 1] as const) expect(delivered[side]).toEqual([...delivered[side].keys()]); // in order, none twice, none missing
        }
        // Whatever happened: links that hold bring everything across, and nothing is kept.
        reconnect();
        for (let round = 0; round < 1000 && (cores[0].keptBytes > 0 || cores[1].keptBytes > 0); round++) {
          for (const side of [0, 1]) {
            pump(side);
            while (wires[side as 0 | 1].length > 0) arrive(side, false);
            wires[(1 - side) as 0 | 1].push({ data: undefined, ack: core(side).takeAck() });
          }
        }
        expect(delivered.map((d) => d.length)).toEqual([pushed[1], pushed[0]]);
        expect([cores[0].keptBytes, cores[1].keptBytes]).toEqual([0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});
