import fc from "fast-check";
import { ItemStream } from "./item-stream.js";
import { ObjectEntry } from "./object-entry.js";

const entryOf = (index: number): ObjectEntry => new ObjectEntry(0, undefined, undefined, index, `item-${index}`);
const session = {} as Parameters<ItemStream["begin"]>[0];

/** Takes, and notes what came. */
function consumer(): { taken: (number | "end")[]; taker: Parameters<ItemStream["take"]>[0] } {
  const taken: (number | "end")[] = [];
  return { taken, taker: { take: (entry) => void taken.push(entry.index), end: () => void taken.push("end") } };
}

describe("ItemStream", () => {
  it("S2: takers get items in order, each once, then the end, whoever comes first", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("add", "take"), { maxLength: 60 }), fc.boolean(), (steps, drop) => {
        const stream = new ItemStream(0);
        const { taken, taker } = consumer();
        let added = 0;
        let asked = 0;
        for (const step of steps) {
          if (step === "add") stream.add(entryOf(++added));
          else {
            asked++;
            stream.take(taker);
          }
        }
        const left = drop ? stream.drop() : [];
        if (!drop) stream.end();
        const items = Math.min(added, asked);
        expect(taken).toEqual([...Array.from({ length: items }, (_, i) => i + 1), ...Array.from({ length: asked - items }, () => "end")]);
        if (drop) expect(left.map((e) => e.index)).toEqual(Array.from({ length: added - items }, (_, i) => items + i + 1));
        stream.take(taker);
        expect(taken.at(-1)).toBe(!drop && added > items ? items + 1 : "end");
      }),
    );
  });

  it("a taker that left gets nothing", () => {
    const stream = new ItemStream(0);
    const [one, two] = [consumer(), consumer()];
    stream.take(one.taker);
    stream.take(two.taker);
    stream.leave(one.taker);
    stream.add(entryOf(1));
    stream.end();
    expect([one.taken, two.taken]).toEqual([[], [1]]);
  });

  it("S3: a producer that pauses at the limit, as far as it was told, is never left without news", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.array(fc.boolean(), { maxLength: 200 }), (limit, steps) => {
        const stream = new ItemStream(limit);
        const { taker } = consumer();
        stream.begin(session);
        let made = 0;
        let told = 0;
        const hear = (): void => {
          const news = stream.news();
          if (news === undefined) return;
          expect(news).toBeLessThanOrEqual(stream.consumed);
          told = news;
        };
        for (const produce of steps) {
          if (produce && made - told < limit) stream.add(entryOf(++made));
          else if (!produce && stream.consumed < made) stream.take(taker);
          hear();
          expect(made - stream.consumed).toBeLessThanOrEqual(limit);
          if (made - told >= limit) expect(stream.consumed).toBeLessThan(made); // it pauses, and there is something to take
        }
      }),
    );
  });

  it("an attempt is told what was delivered and what is wanted, and ends early only when nobody wants more", () => {
    const stream = new ItemStream(10);
    const { taker } = consumer();
    for (let i = 1; i <= 5; i++) stream.add(entryOf(i));
    stream.take(taker);
    stream.take(taker);
    expect(stream.begin(session)).toEqual({ delivered: 5, consumed: 2, wanted: [], until: 0 });
    expect(stream.want(3)).toBe(true); // the attempt has passed it, or was not asked
    expect(stream.begin(session)).toEqual({ delivered: 5, consumed: 2, wanted: [3], until: 0 });
    expect(stream.want(3)).toBe(false); // it was asked
    stream.found(3);
    expect(stream.want(3)).toBe(true); // lost once more
    stream.want(1);
    stream.drop();
    expect(stream.begin(session)).toEqual({ delivered: 5, consumed: 2, wanted: [3, 1], until: 3 });
    stream.found(3);
    stream.found(1);
    expect(stream.begin(session)).toEqual({ delivered: 5, consumed: 2, wanted: [], until: 0 });
  });
});
