import { Metrics, SimClock, silentLogger, TrayError } from "@tray/common";
import { MemoryStore, type Store } from "@tray/storage";
import { Journal } from "./journal.js";

const bytes = (text: string): Uint8Array => Buffer.from(text);

function setup(wrap: (store: Store) => Store = (store) => store) {
  const clock = new SimClock();
  const store = new MemoryStore({ clock });
  const journal = new Journal(wrap(store), clock, silentLogger, new Metrics());
  return { clock, journal, table: store.open("t") };
}

describe("Journal", () => {
  it("answers when the rows are on disk, in order, and at once when nothing is under way", async () => {
    const { clock, journal, table } = setup();
    const seen: string[] = [];
    journal.mark(table, "a", () => bytes("1"));
    journal.whenDurable(() => seen.push(`a ${String(table.get("a") !== undefined)}`));
    journal.mark(table, "b", () => bytes("2"));
    journal.whenDurable(() => seen.push(`b ${String(table.get("b") !== undefined)}`));
    expect(seen).toEqual([]);
    await clock.advance(5);
    expect(seen).toEqual(["a true", "b true"]);
    journal.whenDurable(() => seen.push("now"));
    expect(seen.at(-1)).toBe("now");
  });

  it("writes rows marked during a write in the next one, in their last form", async () => {
    const { clock, journal, table } = setup();
    let value = "1";
    journal.mark(table, "a", () => bytes(value));
    await clock.advance(0.1);
    value = "2";
    journal.mark(table, "a", () => bytes(value));
    value = "3";
    await clock.complete(journal.durable());
    expect(Buffer.from(table.get("a") ?? []).toString()).toBe("3");
  });

  it("tries again until the disk takes it; nobody is answered before", async () => {
    let failures = 3;
    const { clock, journal, table } = setup((store) => ({
      open: (name) => store.open(name),
      close: () => store.close(),
      commit: (batch) => (failures-- > 0 ? Promise.reject(new TrayError("OUT_OF_DISK", "full")) : store.commit(batch)),
    }));
    let durable = false;
    journal.mark(table, "a", () => bytes("1"));
    journal.whenDurable(() => {
      durable = true;
    });
    await clock.advance(1400);
    expect([durable, table.get("a")]).toEqual([false, undefined]);
    await clock.advance(200);
    expect([durable, table.get("a") !== undefined]).toEqual([true, true]);
  });

  it("closes although the disk stays full", async () => {
    const { clock, journal, table } = setup((store) => ({
      open: (n) => store.open(n),
      close: () => store.close(),
      commit: () => Promise.reject(new TrayError("OUT_OF_DISK", "full")),
    }));
    journal.mark(table, "a", () => bytes("1"));
    await clock.complete(journal.close(), 3000);
    await clock.runUntilIdle(0);
  });
});
