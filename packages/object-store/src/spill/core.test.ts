import fc from "fast-check";
import { blockBytes, pageBytes } from "../arena/allocator.js";
import { ObjectTableCore } from "../table/core.js";
import type { TableEffects } from "../table/types.js";
import { type SpillBatch, type SpillCommands, SpillCore, type SpillOptions } from "./core.js";

const page = pageBytes;
const owner = { workerId: "owner", address: "10.0.0.1:1" };

function coreOf(pages: number, options: Partial<SpillOptions> = {}) {
  const table = new ObjectTableCore({ capacity: pages * page });
  const core = new SpillCore(table, { threshold: 0.5, batchBytesMin: 2 * page, ...options });
  return {
    table,
    core,
    put(objectId: string, size: number, nowMs = 0): void {
      const { outcome } = core.create({ objectId, size: size * page, creator: "w1", owner, kind: "primary" }, nowMs);
      expect(outcome.kind).toBe("created");
      table.seal(objectId, "w1", nowMs);
    },
    ids: (commands: SpillCommands) => commands.batches.map((batch) => batch.writes.map((write) => write.objectId)),
  };
}

describe("SpillCore", () => {
  it("spills the coldest unpinned primaries when they pass the threshold, in batches, and keeps them as caches", () => {
    const { table, core, put, ids } = coreOf(16);
    for (const [i, id] of ["a", "b", "c", "d"].entries()) put(id, 2, i);
    expect(core.next(9)).toEqual({ batches: [], deletes: [], refused: [], wakeAtMs: undefined });
    table.pin("a", "r", 5);
    put("e", 2, 6);
    const first = core.next(10);
    expect(ids(first)).toEqual([["b"]]); // a is pinned; one batch of two pages brings primaries back to the threshold
    expect(core.next(10).batches).toEqual([]); // what is under way counts
    core.written((first.batches[0] as SpillBatch).batchId, 20);
    expect(table.info("b")).toMatchObject({ copy: "secondary", state: "sealed" });
    expect(core.usage()).toMatchObject({ spilledBytes: 2 * page, spilledObjects: 1, writesUnderWay: 0 });
    core.check();
  });

  it("fuses small objects up to the batch size, at most writesMax batches at a time", () => {
    const { core, put, ids } = coreOf(64, { threshold: 0.1, batchBytesMin: 4 * page });
    for (let i = 0; i < 30; i++) put(`o${String(i).padStart(2, "0")}`, 1, i);
    const begun = core.next(50);
    expect(ids(begun)).toEqual([
      ["o00", "o01", "o02", "o03"],
      ["o04", "o05", "o06", "o07"],
    ]);
    core.written((begun.batches[0] as SpillBatch).batchId, 51);
    expect(ids(core.next(52))).toEqual([["o08", "o09", "o10", "o11"]]);
    core.check();
  });

  it("P4: a waiting create makes caches go first, and only what is missing beyond them is spilled", () => {
    const { table, core, put, ids } = coreOf(8, { threshold: 1, batchBytesMin: page });
    put("p1", 3);
    put("p2", 3);
    core.create({ objectId: "s", size: 2 * page, creator: "w1", owner, kind: "secondary" }, 0);
    table.seal("s", "w1", 0);
    expect(core.create({ objectId: "n", size: 2 * page, creator: "w2", owner, kind: "primary" }, 1).effects.evicted.map((e) => e.objectId)).toEqual([
      "s",
    ]);
    expect(core.next(2).batches).toEqual([]);
    expect(core.create({ objectId: "m", size: 2 * page, creator: "w2", owner, kind: "primary" }, 3).outcome.kind).toBe("queued");
    const begun = core.next(4);
    expect(ids(begun)).toEqual([["p1"]]);
    const effects = core.written((begun.batches[0] as SpillBatch).batchId, 5);
    expect(effects.granted.map((g) => g.objectId)).toEqual(["m"]);
    expect(core.pin("p1", "r", 6)).toEqual({ kind: "spilled", size: 3 * page });
    core.check();
  });

  it("an object that is pinned while it is being written stays in the arena; one deleted meanwhile is deleted everywhere afterwards", () => {
    const { table, core, put } = coreOf(8, { threshold: 0.01, batchBytesMin: page });
    put("a", 1);
    put("b", 1);
    const { batches } = core.next(0);
    expect(batches.length).toBe(2);
    const pin = core.pin("a", "r", 1);
    core.delete("b", 1);
    expect(core.pin("b", "r", 2)).toEqual({ kind: "absent" });
    expect(table.usage().usedBytes).toBe(2 * page); // the writer still reads it
    for (const { batchId } of batches) core.written(batchId, 3);
    expect(core.next(4).deletes).toEqual([batches[1]?.writes[0]?.spillId]);
    expect(core.next(4).deletes).toEqual([]);
    expect(table.usage()).toMatchObject({ usedBytes: page, pinnedBytes: page });
    expect(pin).toMatchObject({ kind: "pinned" });
    core.check();
  });

  it("P2: what is deleted while it is being read goes from the store when the last reader closes", () => {
    const { table, core, put } = coreOf(8, { threshold: 0.01, batchBytesMin: page });
    put("a", 8);
    core.written((core.next(0).batches[0] as SpillBatch).batchId, 1);
    put("b", 8, 2); // evicts a
    expect(table.info("a")).toBeUndefined();
    const read = core.openRead("a");
    core.openRead("a");
    core.delete("a", 3);
    expect(core.openRead("a")).toBeUndefined();
    core.closeRead(read?.spillId as number);
    expect(core.next(4).deletes).toEqual([]);
    core.closeRead(read?.spillId as number);
    expect(core.next(4).deletes).toEqual([read?.spillId]);
    core.check();
  });

  it("a primary copy is not made of what is on disk, nor a restored copy written again", () => {
    const { core, put, ids } = coreOf(8, { threshold: 0.01, batchBytesMin: page });
    put("a", 8);
    core.written((core.next(0).batches[0] as SpillBatch).batchId, 1);
    put("b", 4, 2); // evicts a
    expect(core.create({ objectId: "a", size: 8 * page, creator: "w2", owner, kind: "primary" }, 3).outcome).toEqual({
      kind: "spilled",
      size: 8 * page,
    });
    core.delete("b", 3);
    core.create({ objectId: "a", size: 8 * page, creator: "restore", owner, kind: "secondary" }, 4);
    expect(ids(core.next(5))).toEqual([]);
    core.check();
  });

  it("a failed write loses nothing, is tried again with back-off, and creates that waited long enough are refused", () => {
    const { table, core, put, ids } = coreOf(8, { threshold: 0.5, batchBytesMin: page, writesMax: 1 });
    put("a", 8);
    core.create({ objectId: "n", size: page, creator: "w2", owner, kind: "primary" }, 0);
    let now = 0;
    const delays: number[] = [];
    for (let i = 0; i < 4; i++) {
      const begun = core.next(now);
      expect(ids(begun)).toEqual([["a"]]);
      core.writeFailed((begun.batches[0] as SpillBatch).batchId, now);
      expect(table.info("a")).toMatchObject({ copy: "primary", state: "sealed", spilling: false });
      const { wakeAtMs, refused } = core.next(now);
      expect(refused).toEqual([]);
      delays.push((wakeAtMs as number) - now);
      now = wakeAtMs as number;
    }
    expect(delays).toEqual([200, 400, 800, 1600]);
    const again = core.next(now);
    core.writeFailed((again.batches[0] as SpillBatch).batchId, now);
    expect(core.next(now).refused).toEqual([{ objectId: "n", creator: "w2" }]);
    expect(table.waitingCreates()).toEqual([]);
    const later = core.next(now + 5_000);
    core.create({ objectId: "n", size: page, creator: "w2", owner, kind: "primary" }, now + 5_000);
    expect(core.written((later.batches[0] as SpillBatch).batchId, now + 5_001).granted.map((g) => g.objectId)).toEqual(["n"]);
    expect(core.usage().failingSinceMs).toBeUndefined();
    core.check();
  });

  it("what the store has lost is gone, unless the arena has a copy, which is the primary again", () => {
    const { table, core, put } = coreOf(8, { threshold: 0.01, batchBytesMin: page });
    put("a", 4);
    core.written((core.next(0).batches[0] as SpillBatch).batchId, 1);
    const read = core.openRead("a");
    core.unreadable(read?.spillId as number, 2);
    core.closeRead(read?.spillId as number);
    expect(table.info("a")).toMatchObject({ copy: "primary" });
    expect(core.next(3)).toMatchObject({ deletes: [read?.spillId], batches: [{ writes: [{ objectId: "a" }] }] });
    core.check();
  });

  it("random interleavings: what is in use is never lost, what is deleted is deleted everywhere, room is never leaked", () => {
    const ids = fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h");
    const clients = fc.constantFrom("w1", "w2");
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ op: fc.constant("create" as const), id: ids, client: clients, pages: fc.integer({ min: 0, max: 7 }) }) },
      { weight: 6, arbitrary: fc.record({ op: fc.constant("seal" as const), pick: fc.nat() }) },
      { weight: 3, arbitrary: fc.record({ op: fc.constant("pin" as const), id: ids, client: clients }) },
      { weight: 3, arbitrary: fc.record({ op: fc.constant("unpin" as const), pick: fc.nat() }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("delete" as const), id: ids }) },
      { weight: 5, arbitrary: fc.record({ op: fc.constant("writeEnds" as const), pick: fc.nat(), ok: fc.integer({ min: 0, max: 3 }) }) },
      { weight: 4, arbitrary: fc.record({ op: fc.constant("restore" as const), pick: fc.nat() }) },
      { weight: 5, arbitrary: fc.record({ op: fc.constant("restoreEnds" as const), pick: fc.nat(), ok: fc.integer({ min: 0, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("open" as const), pick: fc.nat() }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("close" as const), pick: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("gone" as const), client: clients }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 3_000 }) }) },
    );
    const seen = {
      spilled: 0,
      failed: 0,
      restored: 0,
      lost: 0,
      refused: 0,
      deletedWhileWriting: 0,
      deletedWhileReading: 0,
      spilledOnly: 0,
      pinnedWhileWriting: 0,
    };
    fc.assert(
      fc.property(fc.array(step, { minLength: 40, maxLength: 150, size: "max" }), (trace) => {
        const pages = 12;
        const table = new ObjectTableCore({ capacity: pages * page, queuedCreatesMax: 6 });
        const core = new SpillCore(table, { threshold: 0.5, batchBytesMin: 2 * page, writesMax: 2 });
        // The world: what is in each page of the arena, and in the store. Values are named by a number for each time that an object is made.
        const memory: (number | undefined)[] = new Array<number | undefined>(pages).fill(undefined);
        const store = new Map<number, number>();
        const truth = new Map<string, number>();
        let made = 0;
        let now = 0;
        const writing = new Map<string, { id: string; client: string; offset: number; size: number }>();
        const batches: SpillBatch[] = [];
        const restores: { id: string; spillId: number; offset: number; size: number; value: number }[] = [];
        const opened: { id: string; spillId: number; value: number }[] = [];
        let pins: { id: string; client: string; offset: number; size: number; value: number }[] = [];

        const pagesOf = (offset: number, size: number): number[] => Array.from({ length: blockBytes(size) / page }, (_, i) => offset / page + i);
        const fill = (offset: number, size: number, value: number | undefined): void => pagesOf(offset, size).forEach((p) => (memory[p] = value));
        const holds = (offset: number, size: number, value: number): void => {
          for (const p of pagesOf(offset, size)) if (memory[p] !== value) expect([p, memory[p]]).toEqual([p, value]);
        };
        const mayWrite = (id: string, client: string, offset: number, size: number): void => {
          const touched = new Set(pagesOf(offset, size));
          if (pins.some((pin) => pagesOf(pin.offset, pin.size).some((p) => touched.has(p)))) throw new Error(`${id} is written over what is pinned`);
          fill(offset, size, undefined);
          writing.set(`${client} ${id}`, { id, client, offset, size });
        };
        const granted = (effects: TableEffects): void => {
          for (const { objectId, creator, offset, size } of effects.granted) {
            if (creator === "restore") startRestore(objectId, offset, size);
            else mayWrite(objectId, creator, offset, size);
          }
        };
        const startRestore = (id: string, offset: number, size: number): void => {
          fill(offset, size, undefined);
          const read = core.openRead(id);
          if (read === undefined) granted(table.abort(id, "restore", now));
          else restores.push({ id, spillId: read.spillId, offset, size, value: store.get(read.spillId) as number });
        };
        const act = (): void => {
          const { batches: begun, deletes, refused } = core.next(now);
          for (const batch of begun) {
            batches.push(batch);
            for (const { objectId, offset, size } of batch.writes) holds(offset, size, truth.get(objectId) as number);
          }
          for (const spillId of deletes) {
            expect([...restores, ...opened].some((read) => read.spillId === spillId)).toBe(false);
            expect(store.delete(spillId)).toBe(true); // once, and only what is there
          }
          seen.refused += refused.length;
        };
        const endWrite = (batch: SpillBatch, ok: boolean): void => {
          batches.splice(batches.indexOf(batch), 1);
          const values = new Map(batch.writes.map(({ spillId, offset }) => [spillId, memory[offset / page]]));
          for (const { spillId, offset, size, objectId } of batch.writes) {
            if (size > 0) holds(offset, size, values.get(spillId) as number); // nobody has touched the block meanwhile
            if (truth.has(objectId) && table.info(objectId)?.offset === offset) {
              if (size > 0) expect(values.get(spillId)).toBe(truth.get(objectId));
              if (ok) store.set(spillId, truth.get(objectId) as number);
              if (pins.some((pin) => pin.id === objectId && pin.offset === offset)) seen.pinnedWhileWriting++;
            } else {
              seen.deletedWhileWriting++;
              if (ok) store.set(spillId, -1);
            }
          }
          if (ok) seen.spilled++;
          else seen.failed++;
          granted(ok ? core.written(batch.batchId, now) : core.writeFailed(batch.batchId, now));
        };
        const endRestore = (restore: (typeof restores)[number], how: "ok" | "unreadable" | "abandoned"): void => {
          restores.splice(restores.indexOf(restore), 1);
          expect(store.get(restore.spillId)).toBe(restore.value);
          const deleted = truth.get(restore.id) !== restore.value;
          if (deleted) seen.deletedWhileReading++;
          if (how === "ok") {
            fill(restore.offset, restore.size, restore.value);
            const { outcome, effects } = table.seal(restore.id, "restore", now, ["w1"]);
            expect(outcome.kind).toBe(deleted ? "gone" : "sealed");
            if (outcome.kind === "sealed") {
              seen.restored++;
              pins.push({ id: restore.id, client: "w1", offset: outcome.offset, size: outcome.size, value: restore.value });
            }
            granted(effects);
          } else {
            if (how === "unreadable") {
              granted(core.unreadable(restore.spillId, now));
              if (!deleted) {
                truth.delete(restore.id);
                seen.lost++;
              }
            }
            granted(table.abort(restore.id, "restore", now));
          }
          core.closeRead(restore.spillId);
        };
        const check = (): void => {
          core.check();
          for (const [id, value] of truth) {
            const info = table.info(id);
            if (info?.state === "sealed") {
              holds(info.offset, info.size, value);
              continue;
            }
            const read = core.openRead(id);
            if (read === undefined || store.get(read.spillId) !== value) throw new Error(`${id} is lost`);
            core.closeRead(read.spillId);
            seen.spilledOnly++;
          }
          for (const id of ["a", "b", "c", "d", "e", "f", "g", "h"])
            if (core.has(id) !== truth.has(id)) expect([id, core.has(id)]).toEqual([id, truth.has(id)]);
          for (const { offset, size, value } of pins) holds(offset, size, value);
          expect(
            core
              .list()
              .filter((info) => !info.deleted && (info.state !== "creating" || core.isStored(info.objectId)))
              .map((info) => info.objectId)
              .sort(),
          ).toEqual([...truth.keys()].sort());
          expect(store.size).toBe(core.usage().spilledObjects);
        };

        for (const s of trace) {
          now++;
          switch (s.op) {
            case "create": {
              const { outcome, effects } = core.create({ objectId: s.id, size: s.pages * page, creator: s.client, owner, kind: "primary" }, now);
              if (outcome.kind === "created" && !writing.has(`${s.client} ${s.id}`)) mayWrite(s.id, s.client, outcome.offset, s.pages * page);
              if (outcome.kind === "spilled") expect(truth.has(s.id)).toBe(true);
              granted(effects);
              break;
            }
            case "seal": {
              const one = [...writing.values()][s.pick % Math.max(1, writing.size)];
              if (one === undefined) break;
              writing.delete(`${one.client} ${one.id}`);
              const value = ++made;
              fill(one.offset, one.size, value);
              const { outcome, effects } = table.seal(one.id, one.client, now);
              if (outcome.kind === "sealed") truth.set(one.id, value);
              granted(effects);
              break;
            }
            case "pin": {
              const pin = core.pin(s.id, s.client, now);
              if (pin.kind === "pinned")
                pins.push({ id: s.id, client: s.client, offset: pin.offset, size: pin.size, value: truth.get(s.id) as number });
              break;
            }
            case "unpin": {
              const [pin] = pins.splice(s.pick % Math.max(1, pins.length), 1);
              if (pin !== undefined) granted(table.unpin(pin.id, pin.offset, pin.client, now));
              break;
            }
            case "delete":
              truth.delete(s.id);
              granted(core.delete(s.id, now).effects);
              break;
            case "writeEnds": {
              const batch = batches[s.pick % Math.max(1, batches.length)];
              if (batch !== undefined) endWrite(batch, s.ok > 0);
              break;
            }
            case "restore": {
              const spilled = core.list().filter((info) => info.state === "spilled");
              const info = spilled[s.pick % Math.max(1, spilled.length)];
              if (info === undefined) break;
              const { objectId: id, size } = info;
              if (table.info(id) === undefined) expect(core.pin(id, "w1", now)).toEqual({ kind: "spilled", size });
              if (restores.some((restore) => restore.id === id)) break;
              const { outcome, effects } = core.create({ objectId: id, size, creator: "restore", owner, kind: "secondary" }, now);
              if (outcome.kind === "created") startRestore(id, outcome.offset, size);
              granted(effects);
              break;
            }
            case "restoreEnds": {
              const restore = restores[s.pick % Math.max(1, restores.length)];
              if (restore !== undefined) endRestore(restore, s.ok > 1 ? "ok" : s.ok === 1 ? "abandoned" : "unreadable");
              break;
            }
            case "open": {
              const stored = [...truth.keys()].filter((id) => core.isStored(id));
              const id = stored[s.pick % Math.max(1, stored.length)];
              const read = id === undefined ? undefined : core.openRead(id);
              if (id !== undefined && read !== undefined) opened.push({ id, spillId: read.spillId, value: store.get(read.spillId) as number });
              break;
            }
            case "close": {
              const [read] = opened.splice(s.pick % Math.max(1, opened.length), 1);
              if (read === undefined) break;
              expect(store.get(read.spillId)).toBe(read.value);
              if (truth.get(read.id) !== read.value) seen.deletedWhileReading++;
              core.closeRead(read.spillId);
              break;
            }
            case "gone": {
              const { effects } = table.clientGone(s.client, now);
              for (const [key, one] of writing) if (one.client === s.client) writing.delete(key);
              pins = pins.filter((pin) => pin.client !== s.client);
              granted(effects);
              break;
            }
            case "wait":
              now += s.ms;
              break;
          }
          act();
          check();
          act();
        }

        // The end: when nobody holds on and the store works, everybody who waits gets room.
        for (let rounds = 0; ; rounds++) {
          expect(rounds).toBeLessThan(100);
          now += 10_000;
          for (const { id, offset, client } of pins.splice(0)) granted(table.unpin(id, offset, client, now));
          for (const { id, client } of [...writing.values()]) {
            writing.delete(`${client} ${id}`);
            granted(table.abort(id, client, now));
          }
          for (const restore of [...restores]) endRestore(restore, "abandoned");
          for (const { spillId } of opened.splice(0)) core.closeRead(spillId);
          act();
          for (const batch of [...batches]) endWrite(batch, true);
          act();
          check();
          const idle = writing.size + restores.length + batches.length + pins.length === 0;
          if (idle && table.waitingCreates().length === 0) break;
        }
        for (const id of truth.keys()) granted(core.delete(id, now).effects);
        act();
        core.check();
        expect(store.size).toBe(0);
        expect(core.list()).toEqual([]);
        expect(core.usage()).toMatchObject({ spilledBytes: 0, spilledObjects: 0, readers: 0, writesUnderWay: 0 });
        expect(table.usage()).toMatchObject({ usedBytes: 0, largestFreeBytes: pages * page, spillingBytes: 0, queuedCreates: 0 });
      }),
      { numRuns: 250 },
    );
    // The traces must reach the interesting places, or the property says little.
    for (const [what, times] of Object.entries(seen)) expect([what, times >= 5]).toEqual([what, true]);
  });
});
