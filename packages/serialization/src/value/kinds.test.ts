// Every kind of value that JavaScript has: what comes back, or, with the path, why it does not go.
import { once } from "node:events";
import { createSecretKey } from "node:crypto";
import { type Stats, statSync } from "node:fs";
import net from "node:net";
import fc from "fast-check";
import { isTrayError } from "@tray/common";
import { Codec } from "../codec.js";
import { createModuleHost } from "../module-host.js";
import { flatten } from "../wire/flat.js";

const modules = createModuleHost({ workingDir: __dirname });
const sender = new Codec({ modules });
const receiver = new Codec({ modules });
const trip = <T>(value: T): T => receiver.deserialize(flatten(sender.serialize(value))) as T;

function refusalOf(value: unknown): string {
  try {
    sender.serialize(value);
  } catch (error) {
    if (isTrayError(error, "SERIALIZATION")) return error.message;
    throw error;
  }
  throw new Error("was not refused");
}

describe("numbers, symbols, holes", () => {
  it("-0, NaN and its bits, wherever they are", () => {
    const bits = new BigUint64Array([0x7ff8dead00000001n]);
    const back = trip({
      map: new Map([[Number.NaN, -0]]),
      list: [-0, Number.NaN],
      floats: new Float64Array([-0]),
      odd: new Float64Array(bits.buffer),
    });
    expect(back.map.get(Number.NaN)).toBe(-0);
    expect(back.list).toEqual([-0, Number.NaN]);
    expect(back.floats[0]).toBe(-0);
    expect(new BigUint64Array(back.odd.slice().buffer)[0]).toBe(bits[0]);
  });

  it("any bigint and any number", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 300n), max: 2n ** 300n }), fc.double(), (big, double) => {
        const back = trip([big, double, Object(big), Object(double)] as const);
        expect(back[0]).toBe(big);
        expect(Object.is(back[1], double)).toBe(true);
        expect([(back[2] as { valueOf(): bigint }).valueOf(), Object.is((back[3] as { valueOf(): number }).valueOf(), double)]).toEqual([big, true]);
      }),
    );
  });

  it("holes stay holes and undefined stays undefined", () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.constantFrom(undefined, null, 1), { nil: "hole" }), { maxLength: 200 }), (pattern) => {
        const list: unknown[] = [];
        list.length = pattern.length;
        for (const [i, item] of pattern.entries()) if (item !== "hole") list[i] = item;
        const back = trip(list);
        expect(back.length).toBe(list.length);
        for (const i of pattern.keys()) expect([i in back, back[i]]).toEqual([i in list, list[i]]);
      }),
    );
  });

  it("well-known and registered symbols are the same ones; others are the same within the job, at home and elsewhere", () => {
    const own = Symbol("own");
    const back = trip({ list: [Symbol.iterator, Symbol.for("app")], own, [own]: 1, boxed: Object(own) as { valueOf(): symbol } });
    expect(back.list).toEqual([Symbol.iterator, Symbol.for("app")]);
    expect([(back as Record<symbol, unknown>)[back.own], back.own.description, back.boxed.valueOf() === back.own]).toEqual([1, "own", true]);
    expect(back.own).not.toBe(own);
    expect(trip(own)).toBe(back.own);
    expect(sender.deserialize(flatten(receiver.serialize(back.own)))).toBe(own);
  });
});

describe("objects", () => {
  it("without a prototype, with another one, with cycles through both", () => {
    const bare = Object.create(null) as Record<string, unknown>;
    bare["self"] = bare;
    bare["list"] = [bare];
    const back = trip(bare) as { self: unknown; list: unknown[] };
    expect([Object.getPrototypeOf(back), back.self === back, back.list[0] === back]).toEqual([null, true, true]);
    const parent = {
      hi(this: { n: number }): string {
        return `hi ${this.n}`;
      },
    };
    expect((trip(Object.create(parent, { n: { value: 1, enumerable: true } })) as typeof parent & { n: number }).hi()).toBe("hi 1");
  });

  it("accessors, and iterators written by hand", () => {
    const doubling = {
      n: 1,
      get twice(): number {
        return this.n * 2;
      },
      set twice(value: number) {
        this.n = value / 2;
      },
    };
    const back = trip(doubling);
    back.twice = 8;
    expect([back.n, back.twice]).toEqual([4, 8]);
    const iteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object;
    let left = 3;
    const counting = Object.create(iteratorPrototype, {
      next: { value: () => (left-- > 0 ? { done: false, value: left } : { done: true }) },
    }) as IterableIterator<number>;
    expect([...trip(counting)]).toEqual([2, 1, 0]);
    expect([
      ...trip({
        *[Symbol.iterator]() {
          yield 5;
        },
      }),
    ]).toEqual([5]); // prettier-ignore
  });

  it("cyclic maps and sets, subclasses of built-ins with their own fields and methods", () => {
    const map = new Map<unknown, unknown>();
    map.set(map, map);
    const set = new Set<unknown>();
    set.add(set);
    const [backMap, backSet] = trip([map, set] as const);
    expect([backMap.get(backMap) === backMap, backSet.has(backSet)]).toEqual([true, true]);

    class Scores extends Map<string, number> {
      unit = "points";
      best(): number {
        return Math.max(...this.values());
      }
    }
    class Row extends Array<number> {
      sum(): number {
        return this.reduce((a, b) => a + b, 0);
      }
    }
    class Digest extends Uint8Array {
      first(): number | undefined {
        return this[0];
      }
    }
    class Link extends URL {
      note = "n";
      get site(): string {
        return this.hostname;
      }
    }
    const back = trip({ scores: new Scores([["a", 3]]), row: Row.from([1, 2]) as Row, digest: new Digest([7, 8]), link: new Link("http://x.org/p") });
    expect([back.scores.best(), back.scores.unit, back.scores instanceof Map]).toEqual([3, "points", true]);
    expect([back.row.sum(), Array.isArray(back.row), back.row.map((n) => n).constructor]).toEqual([3, true, back.row.constructor]);
    expect([back.digest.first(), back.digest.length]).toEqual([7, 2]);
    expect([back.link.site, back.link.note, back.link.href]).toEqual(["x.org", "n", "http://x.org/p"]);
  });

  it("properties beyond what a built-in has", () => {
    const url = Object.assign(new URL("http://a/"), { tag: 1 });
    const date = Object.assign(new Date(5), { tag: 2 });
    const text = Object.assign(new String("ab"), { tag: 3 });
    const list = Object.freeze(Object.assign([1], { tag: 4 }));
    const back = trip({ url, date, text, list });
    expect([back.url.tag, back.date.tag, back.text.tag, back.list.tag, Object.isFrozen(back.list)]).toEqual([1, 2, 3, 4, true]);
  });

  it("lists of any length, through last properties, last elements and instances", () => {
    class Link {
      constructor(
        readonly n: number,
        readonly next: unknown,
      ) {}
    }
    const length = 100_000;
    const makers = [
      (n: number, next: unknown): unknown => ({ n, next }),
      (n: number, next: unknown): unknown => [n, next],
      (n: number, next: unknown): unknown => new Link(n, next),
    ];
    fc.assert(
      fc.property(fc.array(fc.nat(2), { minLength: 1, maxLength: 5 }), (pattern) => {
        const first: Record<string, unknown> = { n: -1 };
        let list: unknown = first;
        for (let i = 0; i < length; i++) list = makers[pattern[i % pattern.length] ?? 0]?.(i, list);
        first["next"] = list; // and round again
        const back = trip(list);
        let node = back;
        for (let i = length - 1; i >= 0; i--) {
          const [n, next] = Array.isArray(node) ? (node as [number, unknown]) : [(node as Link).n, (node as Link).next];
          if (n !== i) throw new Error(`${n} instead of ${i}`);
          node = next;
        }
        expect([(node as Link).n, (node as Link).next === back]).toEqual([-1, true]);
      }),
      { numRuns: 6 },
    );
    // A frozen instance is not open to its last child; the class is needed before, and once.
    const frozen = trip([new Link(1, Object.freeze(new Link(2, [3])))] as const)[0];
    expect([Object.isFrozen(frozen.next), (frozen.next as Link).next, (frozen.next as Link).constructor === frozen.constructor]).toEqual([
      true,
      [3],
      true,
    ]);
  });

  it("the way to what is refused, however long", () => {
    let list: unknown = { end: Promise.resolve() };
    for (let i = 0; i < 5000; i++) list = { next: list };
    expect(refusalOf({ list })).toMatch(/^value\.list(\.next){19} … (\.next){19}\.end → a Promise; await it first$/);
  });

  it("what the file system says of a file", () => {
    const stats: Stats = statSync(__filename);
    const back = trip(stats);
    expect([back.isFile(), back.size, back.mtimeMs]).toEqual([true, stats.size, stats.mtimeMs]);
  });
});

describe("binary data", () => {
  it("every kind of view, its range, and what it shares", () => {
    const memory = new ArrayBuffer(64);
    const view = new DataView(memory, 2, 4);
    view.setInt16(0, -5);
    const back = trip({ memory, view, bytes: new Uint8Array(memory, 0, 8), empty: Buffer.alloc(0), text: Buffer.from("é".repeat(500)) });
    expect([back.view.getInt16(0), back.view.byteLength, back.view.byteOffset]).toEqual([-5, 4, 2]);
    back.bytes[2] = 1;
    expect(back.view.getUint8(0)).toBe(1);
    expect([Buffer.isBuffer(back.empty), Buffer.isBuffer(back.text), back.text.toString()]).toEqual([true, true, "é".repeat(500)]);
  });

  it("shared memory is refused, and memory that went elsewhere", () => {
    const shared = new SharedArrayBuffer(8);
    expect(refusalOf({ a: [shared] })).toBe("value.a[0] → a SharedArrayBuffer, which other processes cannot share; pass a copy (`array.slice()`)");
    expect(refusalOf({ view: new Int32Array(shared) })).toMatch(/^value\.view → a SharedArrayBuffer/);
    expect(trip(new Int32Array(shared).slice())).toEqual(new Int32Array(2));
    const bytes = new Uint8Array(4);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    expect(refusalOf({ bytes })).toBe("value.bytes → an ArrayBuffer that was transferred elsewhere");
    expect(trip(new ArrayBuffer(0)).byteLength).toBe(0);
  });
});

describe("errors", () => {
  class AppError extends Error {
    readonly detail: object;
    constructor(message: string, detail: object, options?: ErrorOptions) {
      super(message, options);
      this.name = "AppError";
      this.detail = detail;
    }
    describe(): string {
      return `${this.name}: ${JSON.stringify(this.detail)}`;
    }
  }
  class QuotaError extends AppError {
    static readonly limit = 3;
  }

  it("of the program's classes, with a chain of causes", () => {
    const root = new RangeError("root", { cause: "text" });
    const error = new QuotaError("top", { used: 4 }, { cause: new AppError("middle", {}, { cause: root }) });
    const back = trip(error);
    expect([back.describe(), back.message, back.stack]).toEqual(['AppError: {"used":4}', "top", error.stack]);
    expect((back.constructor as typeof QuotaError).limit).toBe(3);
    const middle = back.cause as AppError;
    expect([middle.describe(), back instanceof middle.constructor]).toEqual(["AppError: {}", true]);
    const last = middle.cause as RangeError;
    expect([last instanceof RangeError, last.message, last.cause]).toEqual([true, "root", "text"]);
    expect(Object.keys(back)).toEqual(Object.keys(error));
  });

  it("aggregates and subclasses of them, cycles, errors of Node", async () => {
    class Many extends AggregateError {}
    const back = trip(new Many([new AppError("one", {}), 2], "many", { cause: 3 }));
    expect([back.constructor.name, back.message, back.cause, (back.errors[0] as AppError).describe(), back.errors[1]]).toEqual([
      "Many",
      "many",
      3,
      "AppError: {}",
      2,
    ]);
    const cyclic = new Error("c");
    cyclic.cause = cyclic;
    const again = trip(cyclic);
    expect(again.cause).toBe(again);
    const [refused] = (await once(
      net.connect(1, "127.0.0.1").on("connect", () => undefined),
      "error",
    ).catch((e: unknown) => [e])) as [NodeJS.ErrnoException];
    expect(trip(refused)).toMatchObject({ code: refused.code, syscall: "connect", message: refused.message });
  });
});

describe("what is refused, and the way to it", () => {
  const unresolved = (): unknown => {
    let take: unknown;
    void new Promise((resolve) => (take = resolve));
    return take;
  };
  const cases: [name: string, value: unknown, message: string | RegExp][] = [
    ["a promise in a map", new Map([["k", Promise.resolve()]]), "value.get('k') → a Promise; await it first"],
    ["a promise among the keys of a map", { m: new Map([[Promise.resolve(), 1]]) }, "value.m.keys() → a Promise; await it first"],
    ["a weak set in a set", new Set([[new WeakSet()]]), "value.values()[0] → a WeakSet"],
    ["a weak reference", { ref: new WeakRef({}) }, /^value\.ref → native handle WeakRef/],
    ["a function of native code", { f: unresolved() }, "value.f → native function (anonymous)"],
    ["a bound function", [Math.max.bind(null)], /^value\[0\] → a bound function/],
    ["a proxy of a function", { p: new Proxy(() => 1, {}) }, "value.p → a Proxy"],
    [
      "a proxy in a captured list",
      (
        (list) => () =>
          list
      )([new Proxy([], {})]),
      "captured variable 'list'[0] → a Proxy",
    ],
    ["an iterator of an array", { it: [1].values() }, "value.it → an iterator; pass an array of what it gives"],
    ["an iterator of a text", { it: "ab"[Symbol.iterator]() }, "value.it → an iterator; pass an array of what it gives"],
    ["an iterator of matches", { it: "ab".matchAll(/a/g) }, "value.it → an iterator; pass an array of what it gives"],
    ["an iterator of a map", { it: new Map().keys() }, "value.it → an iterator; pass an array of what it gives"],
    ["a running generator", { it: (function* () {})() }, /^value\.it → a running generator; .*streaming/],
    ["an asynchronous one", { it: (async function* () {})() }, /^value\.it → a running generator; .*streaming/],
    ["a message port", { port: new MessageChannel().port1 }, /^value\.port → native handle MessagePort/],
    ["a key", { key: createSecretKey(Buffer.from("k")) }, /^value\.key → native handle SecretKeyObject/],
    ["a formatter", { format: new Intl.NumberFormat("de") }, /^value\.format → native handle NumberFormat/],
    ["an abort signal", { signal: new AbortController().signal }, /^value\.signal → native handle AbortSignal/],
  ];
  it.each(cases)("%s", (_name, value, message) => {
    if (typeof message === "string") expect(refusalOf(value)).toBe(message);
    else expect(refusalOf(value)).toMatch(message);
  });
});
