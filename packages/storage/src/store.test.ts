// The contract of Store, run over every implementation, and what is particular to each.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { isTrayError, SimClock, systemClock } from "@tray/common";
import fc from "fast-check";
import { LmdbStore, type LmdbStoreOptions, MemoryDisk, MemoryStore, type Store, type Table, WriteBatch } from "./index.js";
import { compareUtf8 } from "./memory-store.js";

const clock = systemClock;
const directories: string[] = [];
const stores: Store[] = [];

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), "tray-store-"));
  directories.push(path);
  return path;
}
function track<S extends Store>(store: S): S {
  stores.push(store);
  return store;
}
function lmdb(path: string, options: Partial<LmdbStoreOptions> = {}): LmdbStore {
  return track(new LmdbStore({ path, clock, ...options }));
}
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined => (value === undefined ? undefined : new TextDecoder().decode(value));
const contents = (table: Table): [string, string | undefined][] => [...table.entries()].map(([k, v]) => [k, text(v)]);

/** `reopen` gives a store over what the earlier ones of the same fixture committed. */
const implementations: Record<string, () => { reopen: () => Store }> = {
  MemoryStore: () => {
    const disk = new MemoryDisk();
    return { reopen: () => track(new MemoryStore({ clock, disk })) };
  },
  "LmdbStore, durable against process death": () => {
    const path = directory();
    return { reopen: () => lmdb(path) };
  },
  "LmdbStore, durable against machine death": () => {
    const path = directory();
    return { reopen: () => lmdb(path, { durability: "machine" }) };
  },
  "LmdbStore, every group on LMDB's thread": () => {
    const path = directory();
    return { reopen: () => lmdb(path, { inlineBytesMax: 0 }) };
  },
};

describe.each(Object.entries(implementations))("%s", (_name, fixture) => {
  it("keeps what was committed, over a reopening too", async () => {
    const { reopen } = fixture();
    const store = reopen();
    const [a, b] = [store.open("a"), store.open("b")];
    await store.commit(
      new WriteBatch()
        .put(a, "k", bytes("1"))
        .put(b, "k", bytes("2"))
        .put(a, "empty", new Uint8Array(0))
        .put(a, "gone", bytes("x"))
        .delete(a, "gone"),
    );
    expect([text(a.get("k")), text(b.get("k")), text(a.get("empty")), a.get("gone"), a.get("never"), a.get("")]).toEqual([
      "1",
      "2",
      "",
      undefined,
      undefined,
      undefined,
    ]);
    await store.close();
    expect(contents(reopen().open("a"))).toEqual([
      ["empty", ""],
      ["k", "1"],
    ]);
  });

  it("gives values that are the reader's own, and keeps its own", async () => {
    const store = fixture().reopen();
    const table = store.open("t");
    const big = new Uint8Array(300_000).fill(1);
    await store.commit(new WriteBatch().put(table, "small", bytes("abc")).put(table, "big", big));
    const [small, large] = [table.get("small"), table.get("big")];
    small?.fill(0);
    await store.commit(new WriteBatch().put(table, "big", new Uint8Array(300_000).fill(2)));
    for (let i = 0; i < 5; i++) await store.commit(new WriteBatch().put(table, `fill-${i}`, new Uint8Array(300_000).fill(3)));
    expect(text(table.get("small"))).toBe("abc");
    expect(large?.every((x) => x === 1)).toBe(true);
    expect(table.get("big")?.every((x) => x === 2)).toBe(true);
  });

  it("lists ranges by prefix, start and limit in the order of UTF-8", async () => {
    const store = fixture().reopen();
    const table = store.open("t");
    const keys = ["a", "a/1", "a/10", "a/2", "a0", "b", "z", "é", "\uffee", "😀", "\u0001x"];
    const batch = new WriteBatch();
    for (const key of keys) batch.put(table, key, bytes(key));
    await store.commit(batch);
    const sorted = [...keys].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    const list = (options: Parameters<Table["entries"]>[0]): string[] => [...table.entries(options)].map(([k]) => k);
    expect(list({})).toEqual(sorted);
    expect(list({ prefix: "a/" })).toEqual(["a/1", "a/10", "a/2"]);
    expect(list({ prefix: "a/", start: "a/10" })).toEqual(["a/10", "a/2"]);
    expect(list({ prefix: "b", start: "a/10" })).toEqual(["b"]);
    expect(list({ prefix: "a", start: "b" })).toEqual([]);
    expect(list({ limit: 2 })).toEqual(sorted.slice(0, 2));
    expect(list({ limit: 0 })).toEqual([]);
    expect(list({ prefix: "😀" })).toEqual(["😀"]);
  });

  it("applies batches in the order of their commits, however many share a turn", async () => {
    const store = fixture().reopen();
    const table = store.open("t");
    const order: number[] = [];
    const commits = Array.from({ length: 50 }, (_, i) =>
      store.commit(new WriteBatch().put(table, "k", bytes(String(i)))).then(() => void order.push(i)),
    );
    expect(table.get("k")).toBeUndefined();
    await Promise.all(commits);
    expect(text(table.get("k"))).toBe("49");
    expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it("refuses what is not a key, and batches after close, and finishes those before it", async () => {
    const { reopen } = fixture();
    const store = reopen();
    const table = store.open("t");
    for (const key of ["", "x".repeat(1025), "\ud800"]) expect(() => new WriteBatch().put(table, key, bytes("v"))).toThrow("is not a key");
    const before = store.commit(new WriteBatch().put(table, "k".repeat(1024), bytes("v")));
    const closed = store.close();
    await expect(store.commit(new WriteBatch().put(table, "late", bytes("v")))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await Promise.all([before, closed]);
    expect(contents(reopen().open("t"))).toEqual([["k".repeat(1024), "v"]]);
  });

  it("behaves as maps of strings under any sequence of operations", async () => {
    const op = fc.record({
      table: fc.constantFrom("p", "q"),
      key: fc.constantFrom("a", "ab", "abc", "b", "ba"),
      value: fc.option(fc.string({ maxLength: 5 }), { nil: undefined }),
    });
    const step = fc.record({ batches: fc.array(fc.array(op, { maxLength: 6 }), { maxLength: 4 }), reopen: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 6 }), async (steps) => {
        const { reopen } = fixture();
        const model = { p: new Map<string, string>(), q: new Map<string, string>() };
        let store = reopen();
        for (const { batches, reopen: again } of steps) {
          const tables = { p: store.open("p"), q: store.open("q") };
          await Promise.all(
            batches.map((ops) => {
              const batch = new WriteBatch();
              for (const { table, key, value } of ops) {
                const name = table as "p" | "q";
                if (value === undefined) {
                  batch.delete(tables[name], key);
                  model[name].delete(key);
                } else {
                  batch.put(tables[name], key, bytes(value));
                  model[name].set(key, value);
                }
              }
              return store.commit(batch);
            }),
          );
          if (again) {
            await store.close();
            store = reopen();
          }
          for (const name of ["p", "q"] as const) expect(contents(store.open(name))).toEqual([...model[name]].sort(([x], [y]) => (x < y ? -1 : 1)));
        }
        await store.close();
      }),
      { numRuns: 15 },
    );
  });
});

describe("MemoryStore", () => {
  it("loses an unacknowledged batch or keeps it whole, and never an acknowledged one, wherever it crashes", async () => {
    const outcomes = new Map<number, string>();
    for (let crashAtMs = 0; crashAtMs < 12; crashAtMs++) {
      const simulated = new SimClock();
      const disk = new MemoryDisk();
      const store = new MemoryStore({ clock: simulated, disk, commitDelayMs: 4 });
      const [a, b] = [store.open("a"), store.open("b")];
      let acknowledged = 0;
      void (async () => {
        for (let i = 1; ; i++) {
          await store.commit(new WriteBatch().put(a, "n", bytes(String(i))).put(b, "n", bytes(String(i))));
          acknowledged = i;
        }
      })();
      await simulated.advance(crashAtMs);
      const [atCrash, kept] = [acknowledged, Number(text(a.get("n")) ?? 0)];
      store.crash();
      await simulated.advance(100);
      expect(acknowledged).toBe(atCrash); // M2
      expect([text(a.get("n")), text(b.get("n"))].map((x) => Number(x ?? 0))).toEqual([kept, kept]);
      outcomes.set(crashAtMs, `${atCrash} acknowledged, ${kept} kept`);
    }
    // M1: two of every four milliseconds lose the batch in flight, two keep it unacknowledged.
    expect([...outcomes.values()].slice(0, 8)).toEqual([
      "0 acknowledged, 0 kept",
      "0 acknowledged, 0 kept",
      "0 acknowledged, 1 kept",
      "0 acknowledged, 1 kept",
      "1 acknowledged, 1 kept",
      "1 acknowledged, 1 kept",
      "1 acknowledged, 2 kept",
      "1 acknowledged, 2 kept",
    ]);
  });

  it("gives the disk of a crashed store to the next one", async () => {
    const simulated = new SimClock();
    const first = new MemoryStore({ clock: simulated });
    await simulated.complete(first.commit(new WriteBatch().put(first.open("t"), "k", bytes("v"))));
    first.crash();
    const second = new MemoryStore({ clock: simulated, disk: first.disk });
    expect(text(second.open("t").get("k"))).toBe("v");
  });

  it("answers OUT_OF_DISK for what does not fit and stores its neighbours", async () => {
    const store = track(new MemoryStore({ clock, disk: new MemoryDisk(100) }));
    const table = store.open("t");
    const results = await Promise.allSettled(
      ["a", "big", "c"].map((key) => store.commit(new WriteBatch().put(table, key, new Uint8Array(key === "big" ? 200 : 20)))),
    );
    expect(results.map((r) => r.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(results[1]?.status === "rejected" && isTrayError(results[1].reason, "OUT_OF_DISK")).toBe(true);
    expect([...table.entries()].map(([k]) => k)).toEqual(["a", "c"]);
  });

  it("refuses a backlog beyond its limit, but not a single batch, and takes more once it is written", async () => {
    const simulated = new SimClock();
    const store = new MemoryStore({ clock: simulated, pendingBytesMax: 100 });
    const table = store.open("t");
    const put = (key: string, size: number): Promise<void> => store.commit(new WriteBatch().put(table, key, new Uint8Array(size)));
    const large = put("large", 500);
    await expect(put("b", 1)).rejects.toMatchObject({ code: "RESOURCE_EXHAUSTED" });
    await simulated.complete(large);
    await simulated.complete(Promise.all([put("c", 40), put("d", 40)]));
    expect([...table.entries()].map(([k]) => k)).toEqual(["c", "d", "large"]);
  });

  it("orders keys as Buffer.compare does", () => {
    const unit = fc.constantFrom("a", "é", "\ud7ff", "\ue000", "\uffff", "😀", "𐀀");
    fc.assert(
      fc.property(fc.array(unit), fc.array(unit), (x, y) => {
        const [a, b] = [x.join(""), y.join("")];
        expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
  });
});

describe("LmdbStore", () => {
  const index = pathToFileURL(join(__dirname, "index.ts")).href;
  const common = pathToFileURL(join(__dirname, "../../common/src/index.ts")).href;

  /** Runs `script` (an ES module in TypeScript with LmdbStore, WriteBatch and clock in scope) in a process of its own. */
  function run(script: string, { shell = 'exec "$@"', stderr = "inherit" as "inherit" | "ignore" } = {}): ChildProcess {
    const file = join(directory(), "writer.mts");
    writeFileSync(file, `import { LmdbStore, WriteBatch } from "${index}";\nimport { systemClock as clock } from "${common}";\n${script}`);
    const node = [process.execPath, "--conditions=source", "--import", pathToFileURL(require.resolve("tsx")).href, file];
    return spawn("bash", ["-c", shell, "bash", ...node], { stdio: ["ignore", "pipe", stderr] });
  }

  it.each(["process", "machine"] as const)(
    "kill -9 of the writer loses nothing acknowledged and leaves no half batch (durability %s)",
    async (durability) => {
      const path = directory();
      let acknowledged = 0;
      for (const killAfter of [20, 300]) {
        const child = run(`
        const store = new LmdbStore({ path: ${JSON.stringify(path)}, clock, durability: "${durability}", inlineBytesMax: 3000 });
        const [a, b] = [store.open("a"), store.open("b")];
        const next = ${acknowledged};
        const key = (i) => String(i).padStart(8, "0");
        const write = async (lane) => {
          for (let i = next + lane; ; i += 4) {
            await store.commit(new WriteBatch().put(a, key(i), new Uint8Array(1 + (i % 5) * 1000).fill(i)).put(b, key(i), new Uint8Array([i])));
            process.stdout.write(key(i) + "\\n");
          }
        };
        const keepAlive = setInterval(() => undefined, 1000);
        for (const lane of [0, 1, 2, 3]) void write(lane);
      `);
        const exited = once(child, "exit");
        const seen: number[] = [];
        for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
          // A last line may be cut off by the kill; it then is not an acknowledgement that anybody saw.
          if (/^\d{8}$/.test(line)) seen.push(Number(line));
          if (seen.length === killAfter) child.kill("SIGKILL");
        }
        await exited;
        expect(seen.length).toBeGreaterThanOrEqual(killAfter);
        const store = new LmdbStore({ path, clock, durability });
        const [a, b] = [store.open("a"), store.open("b")];
        for (const i of seen) {
          expect(a.get(String(i).padStart(8, "0"))).toEqual(Buffer.alloc(1 + (i % 5) * 1000, i));
          expect(b.get(String(i).padStart(8, "0"))).toEqual(Buffer.from([i % 256]));
        }
        expect([...a.entries()].map(([k]) => k)).toEqual([...b.entries()].map(([k]) => k));
        acknowledged = Math.max(acknowledged, ...seen) + 1;
        await store.close();
      }
    },
  );

  // A file-size limit fails writes as a full disk does, and needs no privileges.
  it.each(["process", "machine"] as const)(
    "answers OUT_OF_DISK, keeps what it has, and goes on when there is room again (durability %s)",
    async (durability) => {
      const path = directory();
      const child = run(
        `
      const store = new LmdbStore({ path: ${JSON.stringify(path)}, clock, durability, inlineBytesMax: 1_000_000 });
      const table = store.open("t");
      const keepAlive = setInterval(() => undefined, 1000);
      const put = (key, size) => store.commit(new WriteBatch().put(table, key, new Uint8Array(size).fill(1))).then(() => "ok", (e) => e.code);
      const first = [];
      for (let i = 0; i < 12; i++) first.push(await put("k" + i, 900_000));
      const big = await put("big", 6_000_000);
      const kept = [...table.entries()].length;
      for (let i = 0; i < 8; i++) await store.commit(new WriteBatch().delete(table, "k" + i));
      const again = [await put("again", 900_000), await put("more", 900_000)];
      await store.close();
      clearInterval(keepAlive);
      console.log(JSON.stringify({ ok: first.filter((x) => x === "ok").length, codes: [...new Set(first)], big, kept, again }));
    `.replace("durability,", `durability: "${durability}",`),
        { shell: 'ulimit -f 8192 && exec "$@"', stderr: "ignore" }, // lmdb prints errors that it also reports
      );
      let output = "";
      child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
      const [exitCode] = (await once(child, "close")) as [number];
      const result = JSON.parse(output) as { ok: number };
      expect({ exitCode, ...result }).toEqual({
        exitCode: 0,
        ok: expect.any(Number),
        codes: ["ok", "OUT_OF_DISK"],
        big: "OUT_OF_DISK",
        kept: result.ok,
        again: ["ok", "ok"],
      });
      expect(result.ok).toBeGreaterThan(4);
    },
  );

  it("grows beyond the address space it began with", async () => {
    const store = lmdb(directory(), { mapSizeBytes: 2 ** 20, flushDelayMs: Number.POSITIVE_INFINITY });
    const table = store.open("t");
    for (let i = 0; i < 4; i++) await store.commit(new WriteBatch().put(table, `inline-${i}`, new Uint8Array(200_000)));
    await store.commit(new WriteBatch().put(table, "large", new Uint8Array(12_000_000).fill(9)));
    expect([table.get("inline-3")?.length, table.get("large")?.[11_999_999]]).toEqual([200_000, 9]);
  });

  it("opens a table while a large group is being committed", async () => {
    const store = lmdb(directory());
    const table = store.open("t");
    const large = store.commit(new WriteBatch().put(table, "large", new Uint8Array(8_000_000)));
    await new Promise<void>((resolve) => clock.endOfTurn(resolve));
    const late = store.open("late");
    await Promise.all([large, store.commit(new WriteBatch().put(late, "k", bytes("v")))]);
    expect(text(late.get("k"))).toBe("v");
  });

  it("flushes in the background after a commit, reports a failure and tries again", async () => {
    const path = directory();
    const errors: unknown[] = [];
    const store = lmdb(path, { flushDelayMs: 1, onFlushError: (e) => errors.push(e) });
    const table = store.open("t");
    renameSync(join(path, "data.mdb"), join(path, "away.mdb")); // LMDB has it open; the flush opens it by name
    await store.commit(new WriteBatch().put(table, "k", bytes("v")));
    while (errors.length < 2) await new Promise<void>((resolve) => clock.after(1, resolve));
    expect(errors[0]).toMatchObject({ code: "ENOENT" });
    renameSync(join(path, "away.mdb"), join(path, "data.mdb"));
    await store.close();
  });
});
