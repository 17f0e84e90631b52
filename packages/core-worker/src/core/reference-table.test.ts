import { objectIdOf } from "@tray/protocol";
import fc from "fast-check";
import type { ObjectEntry } from "./object-entry.js";
import { ReferenceTable } from "./reference-table.js";

const owner = { workerId: "b".repeat(32), nodeId: "c".repeat(32), endpoint: "127.0.0.1:1" };
const idOf = (n: number): string => objectIdOf(`${"0".repeat(30)}${n.toString(16).padStart(2, "0")}`, 1);

function makeTable(): { table: ReferenceTable; freed: ObjectEntry[]; returned: ObjectEntry[]; spare: number[] } {
  const spare: number[] = [];
  const freed: ObjectEntry[] = [];
  const returned: ObjectEntry[] = [];
  const table = new ReferenceTable(
    {
      freed: (entry) => freed.push(entry),
      returned: (entry) => returned.push(entry),
      lineageEnded: () => undefined,
      lineageValues: (deltaBytes) => spare.push(deltaBytes),
      streamDropped: () => undefined,
    },
    () => 0,
  );
  return { table, freed, returned, spare };
}

const value = (): { kind: "value"; value: Uint8Array } => ({ kind: "value", value: new Uint8Array(1) });

describe("ReferenceTable", () => {
  it("T1, T2: frees an owned object exactly when nothing holds it, under any interleaving of holds", () => {
    const op = fc.record({
      kind: fc.constantFrom("bind", "release", "use", "unuse", "borrow", "unborrow", "died" as const),
      who: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
        const { table, freed } = makeTable();
        const entry = table.own(idOf(1), undefined, 0);
        table.bind(1, entry);
        table.resolve(entry, value());
        const slots = new Set([1]);
        const borrowers = new Set<string>();
        let uses = 0;
        let next = 2;
        for (const { kind, who } of ops) {
          if (freed.length > 0) break;
          const borrower = `borrower-${who}`;
          if (kind === "bind") {
            table.bind(next, entry);
            slots.add(next++);
          } else if (kind === "release") {
            const slot = [...slots][who];
            if (slot === undefined) continue;
            slots.delete(slot);
            table.releaseSlot(slot);
            table.releaseSlot(slot); // a repeated release changes nothing
          } else if (kind === "use") {
            table.use(entry);
            uses++;
          } else if (kind === "unuse") {
            if (uses === 0) continue;
            uses--;
            table.unuse(entry);
          } else if (kind === "borrow") {
            table.addBorrower(entry, borrower);
            borrowers.add(borrower);
          } else if (kind === "unborrow") {
            borrowers.delete(borrower);
            table.removeBorrower(entry, borrower);
          } else {
            borrowers.delete(borrower);
            table.borrowerDied(borrower);
          }
          const held = slots.size + uses + borrowers.size > 0;
          expect(freed.length).toBe(held ? 0 : 1);
          expect(table.get(entry.id) !== undefined).toBe(held);
        }
      }),
    );
  });

  it("T3: a container holds what it contains, through any depth, and lets go of it with its own value", () => {
    const { table, freed } = makeTable();
    const entries = [1, 2, 3].map((n) => table.own(idOf(n), undefined, 0));
    const [inner, middle, outer] = entries as [ObjectEntry, ObjectEntry, ObjectEntry];
    entries.forEach((entry, i) => {
      table.bind(i + 1, entry);
    });
    table.resolve(inner, value());
    table.resolve(middle, value(), [inner]);
    table.resolve(outer, value(), [middle]);
    table.releaseSlot(1);
    table.releaseSlot(2);
    expect(freed).toEqual([]);
    table.releaseSlot(3);
    expect(freed).toEqual([outer, middle, inner]);
    expect(table.size).toBe(0);
  });

  it("tells the owner once when the last hold of a borrowed object goes", () => {
    const { table, returned } = makeTable();
    const entry = table.borrow(idOf(1), owner);
    expect(table.borrow(idOf(1), owner)).toBe(entry);
    table.bind(1, entry);
    table.use(entry);
    table.releaseSlot(1);
    expect(returned).toEqual([]);
    table.unuse(entry);
    expect(returned).toEqual([entry]);
    expect(table.size).toBe(0);
  });

  it("an older borrowing that settles late does not take the later one of the same object out of the table", () => {
    const { table, returned } = makeTable();
    const older = table.borrow(idOf(1), owner);
    table.bind(1, older);
    table.releaseSlot(1);
    const later = table.borrow(idOf(1), owner);
    table.bind(1, later);
    table.resolve(older, value()); // its owner's answer comes now
    expect([table.get(idOf(1)), returned]).toEqual([later, [older]]);
  });

  it("T2: keeps an entry that lineage needs after its copies in stores were freed", () => {
    const { table, freed } = makeTable();
    const entry = table.own(idOf(1), undefined, 0);
    table.bind(1, entry);
    table.resolve(entry, { kind: "stored", size: 9, nodes: [] });
    table.needForLineage(entry);
    table.releaseSlot(1);
    expect([freed.length, entry.state.kind, table.get(entry.id)]).toEqual([1, "freed", entry]);
    table.unneedForLineage(entry);
    expect([freed.length, table.size]).toEqual([1, 0]);
  });

  it("T1: keeps a value of this process as long as lineage needs it, with what it contains, and tells its size while nothing else does", () => {
    const { table, freed, spare } = makeTable();
    const [inner, outer] = [1, 2].map((n) => table.own(idOf(n), undefined, 0)) as [ObjectEntry, ObjectEntry];
    table.bind(1, inner);
    table.resolve(inner, value());
    table.bind(2, outer);
    table.resolve(outer, { kind: "value", value: new Uint8Array(30) }, [inner]);
    table.needForLineage(outer);
    table.releaseSlot(1);
    expect(spare).toEqual([]);
    table.releaseSlot(2);
    expect([freed, outer.state.kind, spare]).toEqual([[], "value", [30]]);
    table.bind(3, outer); // somebody found a reference after all
    table.releaseSlot(3);
    expect(spare).toEqual([30]);
    table.unneedForLineage(outer);
    expect([freed, spare, table.size]).toEqual([[outer, inner], [30, -30], 0]);
  });

  it("T4: frees containers of containers, and tells those who wait for one another, to any depth", () => {
    const { table, freed } = makeTable();
    const depth = 50_000;
    const id = (n: number): string => objectIdOf(`${"0".repeat(22)}${n.toString(16).padStart(10, "0")}`, 1);
    const boxes = Array.from({ length: depth }, (_, n) => table.own(id(n), undefined, 0));
    boxes.forEach((entry, n) => {
      table.bind(1, entry);
      table.resolve(entry, value(), n === 0 ? [] : [boxes[n - 1] as ObjectEntry]);
      if (n + 1 < depth) table.use(entry); // until the next one contains it
      if (n > 0) table.unuse(boxes[n - 1] as ObjectEntry);
      table.releaseSlot(1);
    });
    expect([freed.length, table.size]).toEqual([depth, 0]);

    const waiting = Array.from({ length: depth }, (_, n) => table.own(id(n), undefined, 0));
    waiting.forEach((entry, n) => {
      table.bind(n + 1, entry);
      table.whenReady(entry, () => {
        const next = waiting[n + 1];
        if (next !== undefined) table.resolve(next, value());
      });
    });
    table.resolve(waiting[0] as ObjectEntry, value());
    expect(waiting.every((entry) => entry.ready)).toBe(true);
  });

  it("calls listeners once, in order, and not those that were taken back", () => {
    const { table } = makeTable();
    const entry = table.own(idOf(1), undefined, 0);
    table.bind(1, entry);
    const seen: string[] = [];
    const second = (): void => void seen.push("second");
    table.whenReady(entry, () => void seen.push("first"));
    table.whenReady(entry, second);
    table.whenReady(entry, () => void seen.push("third"));
    table.stopListening(entry, second);
    table.resolve(entry, value());
    table.whenReady(entry, () => void seen.push("late"));
    expect(seen).toEqual(["first", "third", "late"]);
  });
});
