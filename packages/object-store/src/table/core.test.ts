import fc from "fast-check";
import { blockBytes, pageBytes } from "../arena/allocator.js";
import { ObjectTableCore } from "./core.js";
import type { CopyKind, CreateOutcome, CreateRequest, TableEffects } from "./types.js";

const page = pageBytes;
const owner = { workerId: "owner", address: "10.0.0.1:1" };

function request(objectId: string, pages: number, creator = "w1", kind: CopyKind = "primary"): CreateRequest {
  return { objectId, size: pages * page, creator, owner, kind };
}

function offsetOf(outcome: CreateOutcome): number {
  if (outcome.kind !== "created") throw new Error(`not created: ${JSON.stringify(outcome)}`);
  return outcome.offset;
}

/** A table of `pages` pages and short forms of what the tests do most. */
function tableOf(pages: number, queuedCreatesMax?: number) {
  const table = new ObjectTableCore({ capacity: pages * page, ...(queuedCreatesMax === undefined ? {} : { queuedCreatesMax }) });
  return {
    table,
    put(objectId: string, size: number, kind: CopyKind = "primary"): number {
      const { outcome } = table.create(request(objectId, size, "w1", kind), 0);
      table.seal(objectId, "w1", 0);
      return offsetOf(outcome);
    },
  };
}

describe("ObjectTableCore", () => {
  it("creates, seals, pins, unpins, deletes", () => {
    const { table } = tableOf(8);
    const offset = offsetOf(table.create(request("a", 2), 1).outcome);
    expect(table.pin("a", "w2", 2)).toEqual({ kind: "creating" });
    expect(table.seal("a", "w1", 3).outcome).toEqual({ kind: "sealed", offset, size: 2 * page });
    expect(table.pin("a", "w2", 4)).toEqual({ kind: "pinned", offset, size: 2 * page, copy: "primary" });
    expect(table.info("a")).toMatchObject({ createdMs: 1, lastUsedMs: 4, pins: 1, pinnedBy: [{ client: "w2", count: 1 }] });
    expect(table.usage()).toMatchObject({ usedBytes: 2 * page, primaryBytes: 2 * page, pinnedBytes: 2 * page, objects: 1 });
    table.unpin("a", offset, "w2", 5);
    expect(table.delete("a", 6).outcome).toBe("freed");
    expect(table.pin("a", "w2", 7)).toEqual({ kind: "absent" });
    expect(table.usage().usedBytes).toBe(0);
  });

  it("O1, O2: a deleted object that is pinned is found by nobody and freed at its last unpin, even when it was made anew meanwhile", () => {
    const { table, put } = tableOf(8);
    const old = put("a", 2);
    table.pin("a", "w2", 0);
    table.pin("a", "w3", 0);
    expect(table.delete("a", 0).outcome).toBe("deferred");
    expect(table.delete("a", 0).outcome).toBe("absent");
    expect(table.pin("a", "w2", 0)).toEqual({ kind: "absent" });
    const fresh = put("a", 2);
    expect(fresh).not.toBe(old);
    table.pin("a", "w2", 0);
    table.unpin("a", old, "w2", 0);
    expect(table.usage()).toMatchObject({ usedBytes: 4 * page, deletedBytes: 2 * page });
    table.unpin("a", old, "w3", 0);
    expect(table.usage()).toMatchObject({ usedBytes: 2 * page, deletedBytes: 0, pinnedBytes: 2 * page });
    table.check();
  });

  it("O1: deleting an object that is being written frees it only when its writer has let go", () => {
    const { table } = tableOf(4);
    table.create(request("a", 4), 0);
    expect(table.delete("a", 0).outcome).toBe("deferred");
    expect(table.create(request("b", 4, "w2"), 0).outcome.kind).toBe("queued");
    const sealed = table.seal("a", "w1", 5);
    expect(sealed.outcome).toEqual({ kind: "gone" });
    expect(sealed.effects.granted).toEqual([{ objectId: "b", creator: "w2", offset: 0, size: 4 * page, waitedMs: 5 }]);
    table.check();
  });

  it("a creator that asks again for what was deleted under its hands goes on with the same block", () => {
    const { table } = tableOf(4);
    const offset = offsetOf(table.create(request("a", 2), 0).outcome);
    table.delete("a", 0);
    expect(table.create(request("a", 2), 0).outcome).toEqual({ kind: "created", offset });
    expect(table.seal("a", "w1", 0).outcome).toEqual({ kind: "sealed", offset, size: 2 * page });
    table.check();
  });

  it("O3: evicts unpinned secondary copies, least recently used first, never primaries or pinned ones", () => {
    const { table, put } = tableOf(8);
    put("p", 2);
    put("s1", 2, "secondary");
    put("s2", 2, "secondary");
    put("s3", 2, "secondary");
    const used = table.pin("s1", "w2", 1);
    if (used.kind !== "pinned") throw new Error("not pinned");
    table.unpin("s1", used.offset, "w2", 2);
    table.pin("s2", "w2", 3);
    const first = table.create(request("n1", 2), 4);
    expect(first.outcome.kind).toBe("created");
    expect(first.effects.evicted.map((e) => e.objectId)).toEqual(["s3"]);
    expect(table.create(request("n2", 2), 5).effects.evicted.map((e) => e.objectId)).toEqual(["s1"]);
    expect(table.create(request("n3", 2), 6).outcome).toEqual({ kind: "queued", cause: "waiting-for-object-store", sinceMs: 6, position: 0 });
    table.check();
  });

  it("O3: evicts nothing when that could not make room", () => {
    const { table, put } = tableOf(8);
    put("p", 5);
    put("s", 2, "secondary");
    const { outcome, effects } = table.create(request("big", 4), 0);
    expect(outcome.kind).toBe("queued");
    expect(effects.evicted).toEqual([]);
    expect(table.has("s")).toBe(true);
  });

  it("reports evictions even when scattered room did not help", () => {
    const { table, put } = tableOf(6);
    for (const [id, kind] of [
      ["s1", "secondary"],
      ["p1", "primary"],
      ["s2", "secondary"],
      ["p2", "primary"],
    ] as const)
      put(id, 1, kind);
    // Pages: s p s p free free. Evicting both gives four free pages, but no four in a row.
    const { outcome, effects } = table.create(request("big", 4), 0);
    expect(outcome.kind).toBe("queued");
    expect(effects.evicted.map((e) => e.objectId)).toEqual(["s1", "s2"]);
    table.check();
  });

  it("a spilled primary becomes a cache, and makes room for those who wait", () => {
    const { table, put } = tableOf(4);
    put("p", 4);
    expect(table.create(request("n", 3, "w2"), 10).outcome.kind).toBe("queued");
    const { outcome, effects } = table.reclassify("p", "secondary", 25);
    expect(outcome).toBe(true);
    expect(effects.evicted).toEqual([{ objectId: "p", owner, size: 4 * page }]);
    expect(effects.granted).toEqual([{ objectId: "n", creator: "w2", offset: 0, size: 3 * page, waitedMs: 15 }]);
  });

  it("O4: grants in order; what would fit does not overtake", () => {
    const { table, put } = tableOf(8);
    const a = put("a", 4);
    put("b", 3);
    table.pin("a", "w9", 0);
    expect(table.create(request("x", 6, "w2"), 1).outcome).toMatchObject({ kind: "queued", position: 0 });
    expect(table.create(request("y", 1, "w3"), 2).outcome).toMatchObject({ kind: "queued", position: 1 });
    expect(table.create(request("y", 1, "w3"), 9).outcome).toMatchObject({ kind: "queued", position: 1, sinceMs: 2 });
    expect(table.delete("a", 3).outcome).toBe("deferred");
    expect(table.delete("b", 3).effects.granted).toEqual([]);
    expect(table.unpin("a", a, "w9", 4).granted.map((g) => g.objectId)).toEqual(["x", "y"]);
    expect(table.waitingCreates()).toEqual([]);
    table.check();
  });

  it("a secondary copy is not evicted between its seal and its first reader", () => {
    const { table } = tableOf(4);
    table.create(request("pulled", 4, "pull", "secondary"), 0);
    table.create(request("n", 4, "w2"), 0);
    expect(table.seal("pulled", "pull", 1, ["w5"]).effects.granted).toEqual([]);
    const offset = table.info("pulled")?.offset as number;
    expect(table.unpin("pulled", offset, "w5", 2)).toMatchObject({ granted: [{ objectId: "n" }], evicted: [{ objectId: "pulled" }] });
  });

  it("racing creators: the second hears that the object exists, also when both waited", () => {
    const { table, put } = tableOf(4);
    put("full", 4);
    table.create(request("x", 1, "w2"), 0);
    table.create(request("x", 1, "w3"), 0);
    table.create(request("z", 1, "w4"), 0);
    const { effects } = table.delete("full", 1);
    expect(effects.granted.map((g) => [g.objectId, g.creator])).toEqual([
      ["x", "w2"],
      ["z", "w4"],
    ]);
    expect(effects.superseded).toEqual([{ objectId: "x", creator: "w3" }]);
    expect(table.create(request("x", 1, "w3"), 2).outcome).toMatchObject({ kind: "exists", state: "creating" });
    table.check();
  });

  it("refuses what an empty arena could not hold, and more waiting creates than the limit", () => {
    const { table, put } = tableOf(4, 1);
    expect(table.create(request("huge", 5), 0).outcome).toEqual({ kind: "tooLarge", capacity: 4 * page });
    put("full", 4);
    expect(table.create(request("a", 1), 0).outcome.kind).toBe("queued");
    expect(table.create(request("b", 1), 0).outcome).toEqual({ kind: "queueFull", queued: 1 });
    table.abort("a", "w1", 0);
    expect(table.create(request("b", 1), 0).outcome.kind).toBe("queued");
  });

  it("clientGone aborts what it wrote, forgets what it waited for, drops its pins; the rest stays", () => {
    const { table, put } = tableOf(8);
    put("a", 2);
    table.pin("a", "gone", 0);
    table.pin("a", "gone", 0);
    table.pin("a", "w2", 0);
    table.create(request("half", 2, "gone"), 0);
    table.create(request("dead", 1, "gone"), 0);
    table.delete("dead", 0);
    table.create(request("wide", 8, "gone"), 0);
    table.create(request("next", 5, "w3"), 0);
    const { outcome, effects } = table.clientGone("gone", 1);
    expect(outcome).toEqual({ aborted: ["half"], cancelled: ["wide"], pinsDropped: 2 });
    expect(effects.granted.map((g) => g.objectId)).toEqual(["next"]);
    expect(table.info("a")?.pinnedBy).toEqual([{ client: "w2", count: 1 }]);
    expect(table.clientGone("gone", 2).outcome).toEqual({ aborted: [], cancelled: [], pinsDropped: 0 });
    table.check();
  });

  it("lists the objects of an owner", () => {
    const { table, put } = tableOf(8);
    put("a", 1);
    table.create({ ...request("b", 1), owner: { workerId: "other", address: "x" } }, 0);
    expect(table.ownedBy("owner")).toEqual(["a"]);
    expect(table.ownedBy("other")).toEqual(["b"]);
  });

  it("random interleavings: what clients may touch never overlaps, waiting is fair, counts are exact, everything is freed at the end", () => {
    const ids = fc.constantFrom("a", "b", "c", "d", "e", "f", "g");
    const clients = fc.constantFrom("w1", "w2", "w3");
    const kinds = fc.constantFrom<CopyKind>("primary", "secondary");
    const step = fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({ op: fc.constant("create" as const), id: ids, client: clients, kind: kinds, pages: fc.integer({ min: 0, max: 9 }) }),
      },
      { weight: 4, arbitrary: fc.record({ op: fc.constant("seal" as const), id: ids, client: clients, reader: fc.option(clients) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("abort" as const), id: ids, client: clients }) },
      { weight: 4, arbitrary: fc.record({ op: fc.constant("pin" as const), id: ids, client: clients }) },
      { weight: 4, arbitrary: fc.record({ op: fc.constant("unpin" as const), pick: fc.nat() }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("delete" as const), id: ids }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("reclassify" as const), id: ids, kind: kinds }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("gone" as const), client: clients }) },
    );
    const seen = { granted: 0, evicted: 0, superseded: 0, deferred: 0 };
    fc.assert(
      fc.property(fc.array(step, { minLength: 30, maxLength: 120, size: "max" }), (trace) => {
        const capacityPages = 10;
        const table = new ObjectTableCore({ capacity: capacityPages * page, queuedCreatesMax: 5 });
        // The model knows only what clients were told: which blocks they may write, which they may read, and who waits.
        let writing: { id: string; client: string; offset: number; size: number }[] = [];
        let pins: { id: string; client: string; offset: number; size: number }[] = [];
        let waiting: { id: string; client: string }[] = [];
        const sizes = new Map<string, number>();
        const mayTouch = (offset: number, size: number, by: { id: string; client: string }): void => {
          const end = offset + blockBytes(size);
          expect(end).toBeLessThanOrEqual(capacityPages * page);
          for (const other of [...writing, ...pins]) {
            const overlaps = offset < other.offset + blockBytes(other.size) && other.offset < end;
            if (overlaps) expect([other.id, other.client, other.offset]).toEqual([by.id, by.client, offset]);
          }
        };
        const apply = (effects: TableEffects): void => {
          for (const s of effects.superseded) waiting = waiting.filter((w) => !(w.id === s.objectId && w.client === s.creator));
          for (const grant of effects.granted) {
            expect(waiting.shift()).toEqual({ id: grant.objectId, client: grant.creator });
            mayTouch(grant.offset, grant.size, { id: grant.objectId, client: grant.creator });
            writing.push({ id: grant.objectId, client: grant.creator, offset: grant.offset, size: grant.size });
          }
          for (const gone of effects.evicted)
            expect(pins.some((p) => p.id === gone.objectId && p.offset === table.info(gone.objectId)?.offset)).toBe(false);
          seen.granted += effects.granted.length;
          seen.evicted += effects.evicted.length;
          seen.superseded += effects.superseded.length;
        };
        let now = 0;
        for (const s of trace) {
          now++;
          switch (s.op) {
            case "create": {
              const size = s.pages * page;
              const { outcome, effects } = table.create({ objectId: s.id, size, creator: s.client, owner, kind: s.kind }, now);
              apply(effects);
              if (outcome.kind === "created") {
                mayTouch(outcome.offset, size, { id: s.id, client: s.client });
                if (!writing.some((w) => w.offset === outcome.offset)) writing.push({ id: s.id, client: s.client, offset: outcome.offset, size });
              } else if (outcome.kind === "queued") {
                if (!waiting.some((w) => w.id === s.id && w.client === s.client)) waiting.push({ id: s.id, client: s.client });
                expect(waiting[outcome.position]).toEqual({ id: s.id, client: s.client });
              } else if (outcome.kind === "queueFull") expect(waiting.length).toBe(5);
              break;
            }
            case "seal": {
              const readers = s.reader === null ? [] : [s.reader];
              const mine = writing.find((w) => w.id === s.id && w.client === s.client);
              const { outcome, effects } = table.seal(s.id, s.client, now, readers);
              writing = writing.filter((w) => w !== mine);
              if (mine !== undefined && outcome.kind === "sealed") {
                expect(outcome).toEqual({ kind: "sealed", offset: mine.offset, size: mine.size });
                sizes.set(s.id, mine.size);
                for (const client of readers) pins.push({ id: s.id, client, offset: outcome.offset, size: outcome.size });
              }
              apply(effects);
              break;
            }
            case "abort": {
              const effects = table.abort(s.id, s.client, now);
              writing = writing.filter((w) => !(w.id === s.id && w.client === s.client));
              waiting = waiting.filter((w) => !(w.id === s.id && w.client === s.client));
              apply(effects);
              break;
            }
            case "pin": {
              const outcome = table.pin(s.id, s.client, now);
              if (outcome.kind === "pinned") {
                expect(outcome.size).toBe(sizes.get(s.id));
                expect(writing.some((w) => w.offset === outcome.offset)).toBe(false);
                pins.push({ id: s.id, client: s.client, offset: outcome.offset, size: outcome.size });
              }
              break;
            }
            case "unpin": {
              if (pins.length === 0) break;
              const [pin] = pins.splice(s.pick % pins.length, 1) as [(typeof pins)[number]];
              apply(table.unpin(pin.id, pin.offset, pin.client, now));
              break;
            }
            case "delete": {
              const { outcome, effects } = table.delete(s.id, now);
              if (outcome === "deferred") seen.deferred++;
              apply(effects);
              break;
            }
            case "reclassify":
              apply(table.reclassify(s.id, s.kind, now).effects);
              break;
            case "gone": {
              const { outcome, effects } = table.clientGone(s.client, now);
              expect(outcome.pinsDropped).toBe(pins.filter((p) => p.client === s.client).length);
              expect([...outcome.cancelled].sort()).toEqual(
                waiting
                  .filter((w) => w.client === s.client)
                  .map((w) => w.id)
                  .sort(),
              );
              writing = writing.filter((w) => w.client !== s.client);
              pins = pins.filter((p) => p.client !== s.client);
              waiting = waiting.filter((w) => w.client !== s.client);
              apply(effects);
              break;
            }
          }
          table.check();
          expect(table.waitingCreates().map((w) => ({ id: w.objectId, client: w.creator }))).toEqual(waiting);
          // Exact: everything that clients hold is used; and what is used is held by a client or is a live object.
          const blocks = table.list();
          expect(table.usage().usedBytes).toBe(blocks.reduce((sum, block) => sum + blockBytes(block.size), 0));
          expect(blocks.reduce((sum, block) => sum + block.pins, 0)).toBe(pins.length);
          expect(blocks.filter((block) => block.state === "creating").length).toBe(writing.length);
        }
        for (const client of ["w1", "w2", "w3"]) table.clientGone(client, now);
        for (const block of table.list()) table.delete(block.objectId, now);
        table.check();
        expect(table.usage()).toMatchObject({ usedBytes: 0, largestFreeBytes: capacityPages * page, objects: 0, queuedCreates: 0, pinnedBytes: 0 });
      }),
      { numRuns: 200 },
    );
    // The traces must reach the interesting places, or the property says little.
    for (const [what, times] of Object.entries(seen)) expect([what, times >= 5]).toEqual([what, true]);
  });
});
