import { deepStrictEqual } from "node:assert";
import net from "node:net";
import fc from "fast-check";
import { isTrayError } from "@tray/common";
import { Codec } from "./codec.js";
import { createModuleHost } from "./module-host.js";
import type { Extension } from "./state.js";
import { bufferAlignment, flatten, writeFlat } from "./wire/flat.js";
import { formatVersion } from "./wire/tag.js";

const modules = createModuleHost({ workingDir: __dirname });
const sender = new Codec({ modules });
const receiver = new Codec({ modules });

function trip<T>(value: T, from = sender, to = receiver): T {
  return to.deserialize(flatten(from.serialize(value))) as T;
}

function refusalOf(value: unknown): string {
  try {
    sender.serialize(value);
  } catch (error) {
    if (isTrayError(error, "SERIALIZATION")) return error.message;
    throw error;
  }
  throw new Error("was not refused");
}

describe("values", () => {
  const table: Record<string, unknown> = {
    primitives: [undefined, null, true, false, "", "abc", 0, 1, 127, 128, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 53, 1.5],
    "numbers that JSON loses": [-0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.MIN_VALUE],
    strings: ["é", "日本", "\ud800", "a\udc00b", "x".repeat(64), "é".repeat(1000), "日".repeat(1000)],
    bigints: [0n, -1n, 2n ** 200n, -(2n ** 64n)],
    // oxlint-disable-next-line no-sparse-arrays
    holes: [, 1, , undefined, ,],
    "key order": { b: 1, 2: 2, a: 3, 1: 4 },
    "null prototype": Object.assign(Object.create(null), { a: 1 }),
    "own __proto__": JSON.parse('{"__proto__": {"x": 1}}'),
    collections: [new Map<unknown, unknown>([[{ k: 1 }, new Set([1, "2"])]]), new Set([[1]])],
    dates: [new Date(0), new Date(-1.5e12)],
    "regular expressions": [/a/g, /[/\]]/su],
    urls: [new URL("https://u:p@example.org:8080/a?b#c"), new URLSearchParams("a=1&a=2")],
    boxed: [new Number(-0), new String("ab"), new Boolean(true), Object(5n)],
    symbols: [Symbol.for("app"), Symbol.iterator, Symbol.asyncIterator],
    binary: [
      new Uint8Array([1, 2]),
      new Float64Array(1000).fill(0.5),
      new BigInt64Array([-1n]),
      Buffer.from("bytes"),
      new ArrayBuffer(3),
      new Uint8ClampedArray([300]),
    ],
    descriptors: Object.defineProperty({ a: 1 }, "hidden", { value: 2, enumerable: false }),
    "named array properties": "xaby".match(/a(?<g>b)/),
    errors: [new TypeError("t", { cause: new RangeError("r") }), new AggregateError([new Error("1")], "many")],
  };
  it.each(Object.keys(table))("keeps %s", (name) => {
    deepStrictEqual(trip(table[name]), table[name]);
  });

  it("keeps cycles and shared references", () => {
    const shared = { n: 1 };
    const value: { list: unknown[]; self?: unknown; map: Map<unknown, unknown> } = { list: [shared, shared], map: new Map() };
    value.self = value;
    value.map.set(value, shared);
    const back = trip(value);
    expect(back.self).toBe(back);
    expect(back.list[0]).toBe(back.list[1]);
    expect(back.map.get(back)).toBe(back.list[0]);
  });

  it("keeps sparse arrays without walking them", () => {
    const sparse: unknown[] = [];
    sparse[4_000_000_000] = "far";
    const back = trip(sparse);
    expect([back.length, Object.keys(back), back[4_000_000_000]]).toEqual([4_000_000_001, ["4000000000"], "far"]);
  });

  it("keeps frozen objects frozen and getters getters", () => {
    expect(Object.isFrozen(trip(Object.freeze({ a: 1 })))).toBe(true);
    const back = trip({
      base: 2,
      get double() {
        return this.base * 2;
      },
    });
    back.base = 5;
    expect(back.double).toBe(10);
  });

  it("keeps built-in objects' identity", () => {
    expect(trip({ m: Math, f: Math.floor, p: process }).m).toBe(Math);
    expect(trip([Object.prototype.hasOwnProperty])[0]).toBe(Object.prototype.hasOwnProperty);
    expect(trip([net])[0]).toBe(net);
  });

  it("keeps error properties, stacks and subclasses; replaces what an error cannot take along", () => {
    class HttpError extends Error {
      status = 418;
      request = new net.Socket();
      override get name(): string {
        return "HttpError";
      }
    }
    const error = new HttpError("teapot");
    const back = trip(error);
    expect([back.name, back.message, back.status, back.stack]).toEqual(["HttpError", "teapot", 418, error.stack]);
    expect(typeof back.request).toBe("string");
    error.request.destroy();
  });

  it("ships the range that views cover, and they share it", () => {
    const memory = new ArrayBuffer(1 << 20);
    const bytes = new Uint8Array(memory, 64, 1024);
    const doubles = new Float64Array(memory, 128, 8);
    const serialized = sender.serialize({ bytes, doubles });
    expect(serialized.byteLength).toBeLessThan(2048);
    const back = receiver.deserialize(flatten(serialized)) as { bytes: Uint8Array; doubles: Float64Array };
    expect(back.bytes.buffer).toBe(back.doubles.buffer);
    back.doubles[0] = 1;
    expect(back.bytes.subarray(64, 72)).toEqual(new Uint8Array(new Float64Array([1]).buffer));
  });

  it("never ships the neighbours of pooled Buffers", () => {
    const first = Buffer.from("first");
    const secret = Buffer.from("secret-between");
    const last = Buffer.from("last");
    expect(Buffer.from(flatten(sender.serialize([first, last]))).includes(secret)).toBe(false);
  });

  it("reads large arrays without a copy, aligned, and copies on request", () => {
    const serialized = sender.serialize({ a: new Uint8Array(1000).fill(1), b: new Float64Array(500).fill(2) });
    expect(serialized.buffers.length).toBe(2);
    const arena = new Uint8Array(serialized.byteLength + 4096).fill(0xff).subarray(bufferAlignment);
    writeFlat(serialized, arena);
    const flat = arena.subarray(0, serialized.byteLength);
    const view = receiver.deserialize(flat) as { b: Float64Array };
    expect(view.b.buffer).toBe(arena.buffer);
    expect(view.b.byteOffset % bufferAlignment).toBe(0);
    expect((receiver.deserialize(flat, undefined, { copyBuffers: true }) as { b: Float64Array }).b.buffer).not.toBe(arena.buffer);
    const odd = new Uint8Array(serialized.byteLength + 1).subarray(1);
    odd.set(flat);
    expect((receiver.deserialize(odd) as { b: Float64Array }).b).toEqual(view.b);
  });

  it("refuses what has no meaning elsewhere, with the path", () => {
    class Pool {
      readonly socket = new net.Socket();
      readonly #guard = 1;
      get guard(): number {
        return this.#guard;
      }
    }
    class Secret {
      #x = 1;
      get x(): number {
        return this.#x;
      }
    }
    class Holder {
      readonly socket = new net.Socket();
    }
    const db = new Holder();
    const nested = { db };
    expect(refusalOf(() => db)).toBe("captured variable 'db' → Holder.socket → native handle Socket; create it inside the task");
    expect(refusalOf([() => nested])).toBe(
      "value[0] → captured variable 'nested'.db → Holder.socket → native handle Socket; create it inside the task",
    );
    expect(refusalOf({ list: [{ p: Promise.resolve() }] })).toBe("value.list[0].p → a Promise; await it first");
    expect(refusalOf({ s: new Secret() })).toMatch(/^value\.s → an instance of Secret.*#members/);
    expect(refusalOf([new Pool()])).toMatch(/value\[0\] → an instance of Pool/);
    expect(refusalOf([new WeakMap()])).toBe("value[0] → a WeakMap");
    expect(refusalOf({ f: (() => 1).bind(null) })).toMatch(/value\.f → a bound function/);
    expect(refusalOf([new Proxy({}, {})])).toBe("value[0] → a Proxy");
    expect(refusalOf([(function* () {})()])).toContain("value[0] → a running generator");
  });

  it("names the native handle inside a socket", async () => {
    const server = net.createServer();
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    class Pool {
      constructor(readonly server: net.Server) {}
    }
    const db = new Pool(server);
    expect(refusalOf(() => db)).toBe("captured variable 'db' → Pool.server → native handle TCP; create it inside the task");
    await new Promise((closed) => server.close(closed));
  });

  it("says so when a value is too deep", () => {
    let deep: unknown = 0;
    for (let i = 0; i < 1e6; i++) deep = [deep, i];
    expect(refusalOf(deep)).toMatch(/too deep/);
  });
});

describe("properties", () => {
  // Dates are in the table: to node's assert two invalid ones differ.
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
  });

  it("a random value comes back equal", () => {
    fc.assert(
      fc.property(anything, (value) => deepStrictEqual(trip({ value }), { value })),
      { numRuns: 2000 },
    );
  });

  it("a random graph comes back with the same identities", () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.nat(19), { maxLength: 5 }), { minLength: 1, maxLength: 20 }), (edges) => {
        const nodes = edges.map((): { next: unknown[] } => ({ next: [] }));
        edges.forEach((targets, i) => {
          for (const t of targets) nodes[i]?.next.push(nodes[t % nodes.length]);
        });
        const back = trip(nodes);
        edges.forEach((targets, i) => {
          targets.forEach((t, k) => {
            expect(back[i]?.next[k]).toBe(back[t % nodes.length]);
          });
        });
      }),
    );
  });

  const reads = (bytes: Uint8Array): void => {
    try {
      receiver.deserialize(bytes);
    } catch (error) {
      if (!isTrayError(error, "SERIALIZATION")) throw error;
    }
  };

  it("random bytes give a value or a SERIALIZATION error", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), reads), { numRuns: 2000 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0, 1), (body, flags) => {
        const flat = new Uint8Array(12 + body.length);
        flat.set([formatVersion, flags]);
        new DataView(flat.buffer).setUint32(4, flat.length, true);
        flat.set(body, 12);
        reads(flat);
      }),
      { numRuns: 5000 },
    );
  });

  it("mutated values give a value or a SERIALIZATION error", () => {
    const base = 3;
    class Thing {
      x = base;
    }
    const samples = [
      { a: [1, "two", new Map([[1, new Date(0)]])], e: new Error("x"), t: new Float64Array(8), u: new Uint8Array(600), r: /x/ },
      [
        new Thing(),
        () => base,
        Math,
        Symbol("s"),
        {
          get g() {
            return base;
          },
        },
      ],
    ].map((v) => flatten(sender.serialize(v)));
    fc.assert(
      fc.property(
        fc.constantFrom(...samples),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        (sample, edits, cut) => {
          const bytes = Uint8Array.from(sample);
          for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
          reads(bytes);
          reads(bytes.subarray(0, cut % bytes.length));
        },
      ),
      { numRuns: 5000 },
    );
  });
});

describe("functions and classes", () => {
  it("closures shipped together share their variables, separate scopes stay separate", () => {
    let n = 0;
    const pair = trip({ inc: () => ++n, get: () => n });
    pair.inc();
    expect([pair.get(), n]).toEqual([1, 0]);
    const counter = (): { inc: () => number; get: () => number } => {
      let count = 0;
      return { inc: () => ++count, get: () => count };
    };
    const [first, second] = trip([counter(), counter()] as const);
    first.inc();
    expect([first.get(), second.get()]).toEqual([1, 0]);
  });

  it("a class is one class: the very same at home, one revived elsewhere", () => {
    class Money {
      constructor(readonly cents: number) {}
      plus(other: Money): Money {
        return new Money(this.cents + other.cents);
      }
    }
    const there = trip(new Money(1));
    const again = trip(new Money(2));
    expect(there).not.toBeInstanceOf(Money);
    expect(again.constructor).toBe(there.constructor);
    expect(there.plus(again).cents).toBe(3);
    const home = trip(there.plus(again), receiver, sender);
    expect(home).toBeInstanceOf(Money);
    const make = receiver.deserializeFunction(sender.serializeFunction(() => new Money(5)).blob) as () => Money;
    expect(make().constructor).toBe(there.constructor);
    const third = new Codec({ modules });
    expect(trip(trip(make(), receiver, third), third, sender)).toBeInstanceOf(Money);
  });

  it("a failed class does not spoil later attempts", () => {
    const holder = { socket: new net.Socket() as unknown };
    class Uses {
      get(): unknown {
        return holder.socket;
      }
    }
    expect(refusalOf(new Uses())).toMatch(/captured variable 'holder'.*socket → native handle/);
    holder.socket = 7;
    expect(trip(new Uses()).get()).toBe(7);
  });

  it("refuses functions that cannot stand alone", () => {
    class Root {
      override(): string {
        return "root";
      }
    }
    class Outer extends Root {
      x = 1;
      arrow(): unknown {
        return () => this.x;
      }
      override override(): string {
        return super.override();
      }
    }
    expect(refusalOf(new Outer().arrow())).toMatch(/uses `this`/);
    expect(refusalOf({ m: new Outer().override })).toMatch(/value\.m → function override: it uses `super`/);
  });

  it("takes imports by reference from code that a CommonJS compiler rewrote, this file included", () => {
    expect(trip(() => [net.isIP("1.1.1.1"), typeof deepStrictEqual])()).toEqual([4, "function"]);
  });

  it("hashes equal functions equally", () => {
    const k = 1;
    const fn = (): number => k;
    expect(sender.serializeFunction(fn)).toEqual(sender.serializeFunction(fn));
    expect(sender.serializeFunction(fn).hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("plugging in", () => {
  const brand = Symbol.for("test.ref");
  class Ref {
    readonly [brand] = true;
    constructor(readonly id: string) {}
  }
  const extension: Extension<Ref> = {
    tag: "ref",
    test: (value): value is Ref => brand in value,
    encode: (ref, context) => {
      (context as string[] | undefined)?.push(ref.id);
      return { id: ref.id };
    },
    decode: (data) => new Ref((data as { id: string }).id),
  };
  const handle = new Proxy(new Ref("proxied"), { get: (target, key) => (key === "id" || key === brand ? Reflect.get(target, key) : () => key) });

  it("extensions see every occurrence once, at any depth, proxies and captures included", () => {
    const codec = new Codec({ modules, extensions: [extension as Extension] });
    const ref = new Ref("one");
    const seen: string[] = [];
    const serialized = codec.serialize({ a: [ref, new Map([["k", ref]])], handle, f: () => ref }, seen);
    expect(seen).toEqual(["one", "proxied"]);
    const back = codec.deserialize(flatten(serialized)) as { a: [Ref, Map<string, Ref>]; handle: Ref; f: () => Ref };
    expect(back.a[0]).toBe(back.a[1].get("k"));
    expect([back.f() === back.a[0], back.handle.id]).toEqual([true, "proxied"]);
  });

  it("registered serializers carry private state and reach workers", async () => {
    class Vault {
      #coins: number;
      constructor(coins: number) {
        this.#coins = coins;
      }
      get coins(): number {
        return this.#coins;
      }
    }
    const driver = new Codec({ modules });
    const worker = new Codec({ modules });
    expect(driver.exportSerializers()).toBeUndefined();
    driver.registerSerializer(Vault, { serialize: (v) => ({ n: v.coins }), deserialize: ({ n }) => new Vault(n) });
    await worker.importSerializers(driver.exportSerializers() as Uint8Array);
    const there = trip({ v: new Vault(3) }, driver, worker);
    expect(there.v.coins).toBe(3);
    expect(trip(there, worker, driver).v).toBeInstanceOf(Vault);
  });
});
