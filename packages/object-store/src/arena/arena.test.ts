import { constants } from "node:buffer";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { type Bundle, bundle } from "../../test/bundle.js";
import { pageBytes } from "./allocator.js";
import type { Arena } from "./arena.js";
import { MemoryArena } from "./memory-arena.js";
import { SharedArena } from "./shared-arena.js";

const run = promisify(execFile);
const capacity = 16 * 2 ** 20;
const prefix = `tray-test-arena-${process.pid}-`;
const freshPath = (): string => `/dev/shm/${prefix}${randomBytes(4).toString("hex")}`;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});
afterAll(() => {
  const left = readdirSync("/dev/shm").filter((name) => name.startsWith(prefix));
  for (const name of left) unlinkSync(`/dev/shm/${name}`);
  expect(left).toEqual([]);
});

function created(bytes = capacity): SharedArena {
  const arena = SharedArena.create(freshPath(), bytes);
  cleanups.push(() => {
    arena.close();
    arena.unlink();
  });
  return arena;
}
function program(name: string): Bundle {
  const built = bundle(join(__dirname, "../../test", name));
  cleanups.push(() => built.remove());
  return built;
}

const implementations: [string, () => Arena][] = [
  ["MemoryArena", () => new MemoryArena(capacity)],
  ["SharedArena", () => created()],
];

describe.each(implementations)("the Arena contract: %s", (_name, make) => {
  it("shows what was written, at its offset", () => {
    const arena = make();
    arena.write(pageBytes, 5).set([1, 2, 3, 4, 5]);
    expect([...arena.write(pageBytes + 1, 3)]).toEqual([2, 3, 4]);
    expect(arena.write(capacity, 0).byteLength).toBe(0);
  });

  it.each([100, 32 * 1024, 3 * 2 ** 20 + 17])(
    "private reads of %i bytes have exactly that length, and writes to them are seen by nobody",
    (length) => {
      const arena = make();
      arena.write(0, length).fill(1);
      const one = arena.readPrivate(0, length);
      const two = arena.readPrivate(0, length);
      expect(one.buffer.byteLength).toBe(length);
      new Uint8Array(one.buffer).fill(9);
      expect(new Uint8Array(two.buffer).every((byte) => byte === 1)).toBe(true);
      expect(arena.write(0, length).every((byte) => byte === 1)).toBe(true);
      expect(new Uint8Array(one.buffer).every((byte) => byte === 9)).toBe(true);
    },
  );

  it("a copied view needs no pin any more when it is returned", () => {
    const arena = make();
    arena.write(0, 10).fill(1);
    let unmapped = 0;
    const view = arena.readPrivate(0, 10, { onUnmapped: () => unmapped++ });
    expect(view.mapped).toBe(false);
    expect(unmapped).toBe(1);
    arena.write(0, 10).fill(2);
    expect([...new Uint8Array(view.buffer)]).toEqual(new Array(10).fill(1));
  });

  it("refuses ranges outside, and any use after close; views made before stay valid", () => {
    const arena = make();
    for (const [offset, length] of [
      [-1, 1],
      [0, capacity + 1],
      [capacity, 1],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      expect(() => arena.write(offset, length)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
      expect(() => arena.readPrivate(offset, length)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
    const before = arena.write(0, 4);
    const view = arena.readPrivate(0, 2 ** 20);
    arena.close();
    arena.close();
    before[0] = 5;
    expect(before[0]).toBe(5);
    expect(new Uint8Array(view.buffer)[1]).toBe(0);
    expect(() => arena.write(0, 1)).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
    expect(() => arena.readPrivate(0, 1)).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
    view.release();
    expect(() => view.buffer).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("SharedArena", () => {
  it("S1: neither creating nor opening maps anything", () => {
    const arena = created();
    const other = SharedArena.open(arena.path, arena.capacity);
    cleanups.push(() => other.close());
    const maps = (): boolean => readFileSync("/proc/self/maps", "utf8").includes(arena.path);
    expect(maps()).toBe(false);
    expect(statSync(arena.path).mode & 0o777).toBe(0o600);
    expect(statSync(arena.path).blocks).toBe(0);
    arena.write(0, 1)[0] = 3;
    expect(maps()).toBe(true);
    expect(other.write(0, 1)[0]).toBe(3);
  });

  it("refuses more than the file system has, naming both sizes, and leaves no file", () => {
    const path = freshPath();
    const attempt = (): SharedArena => SharedArena.create(path, 2 ** 50);
    expect(attempt).toThrow(expect.objectContaining({ code: "OBJECT_STORE_FULL" }));
    expect(attempt).toThrow(/\/dev\/shm has .+ free, the object store is to have 1024 TiB/);
    expect(existsSync(path)).toBe(false);
  });

  it("refuses to take over an existing file, to open none, or one that is too short", () => {
    const arena = created();
    expect(() => SharedArena.create(arena.path, capacity)).toThrow(expect.objectContaining({ code: "CONFLICT" }));
    expect(() => SharedArena.open(freshPath(), capacity)).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
    expect(() => SharedArena.open(arena.path, capacity + pageBytes)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    const short = freshPath();
    writeFileSync(short, "x");
    cleanups.push(() => unlinkSync(short));
    expect(() => SharedArena.open(short, pageBytes)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("mapped buffers cannot be transferred away from under their mapping", () => {
    const arena = created();
    const { buffer, mapped } = arena.readPrivate(0, 2 ** 20);
    expect(mapped).toBe(true);
    try {
      structuredClone(buffer, { transfer: [buffer] });
    } catch {
      // Newer versions of Node refuse, older ones copy.
    }
    expect(buffer.byteLength).toBe(2 ** 20);
    if ("transfer" in ArrayBuffer.prototype) expect(() => (buffer as ArrayBuffer & { transfer(): ArrayBuffer }).transfer()).toThrow(TypeError);
  });

  it("blocks across a window's end, and blocks longer than a window, are whole", () => {
    // Sparse: only the touched pages cost memory.
    const arena = created(6 * 2 ** 30);
    const window = 2 ** 31;
    for (const [offset, length] of [
      [window - pageBytes, 4 * pageBytes],
      [2 * window - pageBytes, 2 * pageBytes],
      [pageBytes, window + 2 * pageBytes],
    ] as const) {
      const view = arena.write(offset, length);
      view[0] = 11;
      view[length - 1] = 22;
      expect(arena.write(offset, 1)[0]).toBe(11);
      expect(arena.write(offset + length - 1, 1)[0]).toBe(22);
      const read = new Uint8Array(arena.readPrivate(offset, length).buffer);
      expect([read[0], read[length - 1]]).toEqual([11, 22]);
    }
    if (constants.MAX_LENGTH <= 2 ** 32) expect(() => arena.write(0, 2 ** 32 + 1)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });

  it("prepare makes the pages present, in parts, and leaves their content", async () => {
    const arena = created();
    arena.write(pageBytes, 3).set([1, 2, 3]);
    await arena.prepare(0, 12 * 2 ** 20 + 5);
    expect(statSync(arena.path).blocks * 512).toBe(12 * 2 ** 20 + pageBytes);
    expect([...arena.write(pageBytes, 4)]).toEqual([1, 2, 3, 0]);
  });

  it("S2: mappings go when their buffers are collected, never while a typed array lives; no descriptor leaks", async () => {
    const { file } = program("gc-program.ts");
    const { stdout } = await run(process.execPath, ["--expose-gc", file, freshPath()]);
    expect(JSON.parse(stdout)).toEqual({
      before: { kernel: 0, live: 0 },
      whileHeld: { unmapped: 90, kernel: 11, live: 11, first: new Array(10).fill(7) },
      sum: 160,
      afterDrop: { unmapped: 100, kernel: 1, live: 1 },
      fdLeak: 0,
      afterClose: { kernel: 0, live: 0 },
    });
  });

  it("works in worker threads, which may end in any way while views live", async () => {
    const { file } = program("thread-program.ts");
    const arena = created();
    const bytes = arena.write(0, 2 * pageBytes);
    bytes[0] = 42;
    for (let round = 1; round <= 6; round++) {
      const thread = new Worker(file, { workerData: { path: arena.path, capacity, round } });
      const message = await new Promise((resolve, reject) => thread.once("message", resolve).once("error", reject));
      expect(message).toEqual({ seen: 42 });
      expect([bytes[0], bytes[pageBytes]]).toEqual([42, round]);
      const ended = new Promise((resolve) => thread.once("exit", resolve));
      if (round % 2 === 0) void thread.terminate();
      else thread.postMessage("end");
      await ended;
    }
  });
});
