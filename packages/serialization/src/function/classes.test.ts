// Instances travel with their class: what a class can have, and what of it must still be there on the other side.
import { inspect } from "node:util";
import { isTrayError } from "@tray/common";
import { Codec } from "../codec.js";
import { createModuleHost } from "../module-host.js";
import { flatten } from "../wire/flat.js";

const modules = createModuleHost({ workingDir: __dirname });
const trip = <T>(value: T, from = new Codec({ modules }), to = new Codec({ modules })): T => to.deserialize(flatten(from.serialize(value))) as T;

it("methods, getters, setters, statics, computed and symbol members", () => {
  class Temperature {
    static readonly unit = "C";
    static #made = 0;
    static get zero(): Temperature {
      return new Temperature(0);
    }
    static make(celsius: number): [Temperature, number] {
      return [new Temperature(celsius), ++Temperature.#made];
    }
    constructor(public celsius: number) {}
    get fahrenheit(): number {
      return (this.celsius * 9) / 5 + 32;
    }
    set fahrenheit(value: number) {
      this.celsius = ((value - 32) * 5) / 9;
    }
    ["computed" + "Member"](): string {
      return `computed ${this.celsius}`;
    }
    *[Symbol.iterator](): Generator<number> {
      yield this.celsius;
    }
    async later(): Promise<number> {
      return this.celsius;
    }
  }
  const back = trip(new Temperature(10));
  back.fahrenheit = 212;
  const cls = back.constructor as typeof Temperature;
  expect([back.celsius, cls.unit, cls.zero.celsius, cls.make(3)[1], cls.make(3)[1]]).toEqual([100, "C", 0, 1, 2]);
  expect([(back as unknown as { computedMember(): string }).computedMember(), [...back]]).toEqual(["computed 100", [100]]);
  return expect(back.later()).resolves.toBe(100);
});

it("inheritance: super calls, overridden accessors, mixins, classes made in functions", () => {
  const factor = 3;
  class Shape {
    protected readonly scale = factor;
    area(): number {
      return this.scale;
    }
    get kind(): string {
      return "shape";
    }
  }
  type Constructor = new (...args: never[]) => Shape;
  const Named = <C extends Constructor>(Base: C, name: string) =>
    // @ts-expect-error: a mixin's constructor has any[] in TypeScript's eyes
    class extends Base {
      override get kind(): string {
        return `${name} ${super.kind}`;
      }
    };
  class Square extends Named(Shape, "named") {
    override area(): number {
      return super.area() ** 2;
    }
  }
  const back = trip(new Square());
  expect([back.area(), back.kind]).toEqual([9, "named shape"]);
});

it("an own field under the name of an inherited accessor or read-only property", () => {
  const seen: unknown[] = [];
  class Base {
    get value(): unknown {
      return "inherited";
    }
    set value(next: unknown) {
      seen.push(next);
    }
  }
  Object.defineProperty(Base.prototype, "fixed", { value: "inherited", writable: false });
  class Sub extends Base {}
  const plain = { writable: true, enumerable: true, configurable: true };
  const back = trip(Object.defineProperties(new Sub(), { value: { ...plain, value: 1 }, fixed: { ...plain, value: 2 } }));
  expect([back.value, (back as unknown as { fixed: number }).fixed, seen]).toEqual([1, 2, []]);
});

it("private fields and methods work in instances made there; instances that have them need a serializer", () => {
  class Account {
    #balance = 1;
    #check(): void {
      if (this.#balance < 0) throw new Error("broke");
    }
    static is(value: object): boolean {
      return #balance in value;
    }
    deposit(amount: number): number {
      this.#balance += amount;
      this.#check();
      return this.#balance;
    }
  }
  const Revived = trip(Account);
  const account = new Revived();
  expect([account.deposit(2), Revived.is(account), Revived.is({})]).toEqual([3, true, false]);
  expect(() => trip({ account: new Account() })).toThrow(/^value\.account → an instance of Account, which has private #members.*registerSerializer/);
  // A private static is the class's own affair: its instances travel.
  class Counted {
    static #count = 0;
    n = ++Counted.#count;
  }
  expect(trip(new Counted()).n).toBe(1);
});

// At the top of a module, and used nowhere else: V8 keeps no trace of what a computed name was made of.
class Shown {
  [inspect.custom](): string {
    return "shown";
  }
}

it("a member's name that comes from an import", () => {
  expect(inspect(trip(new Shown()))).toBe("shown");
});

it("platform classes by their global names, and classes that extend them", () => {
  const make = trip(() => [new Headers({ a: "b" }).get("a"), new AbortController().signal.aborted]);
  expect(make()).toEqual(["b", false]);
  class Bus extends EventTarget {
    heard = 0;
    listen(): this {
      this.addEventListener("x", () => this.heard++);
      return this;
    }
  }
  const bus = new (trip(Bus))().listen();
  bus.dispatchEvent(new Event("x"));
  expect(bus.heard).toBe(1);
  expect(trip({ Headers, Blob, AbortController })).toEqual({ Headers, Blob, AbortController });
});

it("a static property that holds the class, or a method under a second name", () => {
  class Node {
    static root: unknown;
    static readonly list: unknown[] = [];
    next(): string {
      return "next";
    }
  }
  Node.root = Node;
  Node.list.push(new Node());
  Object.assign(Node.prototype, { following: Node.prototype.next });
  const back = trip(Node);
  expect(back.root).toBe(back);
  expect(back.list[0]).toBeInstanceOf(back);
  expect((new back() as Node & { following(): string }).following()).toBe("next");
});

it("classes and functions that refer to each other", () => {
  class Ping {
    answer(): Pong {
      return new Pong(describe(this));
    }
  }
  class Pong {
    constructor(readonly to: string) {}
    answer(): Ping {
      return new Ping();
    }
  }
  function describe(value: Ping | Pong): string {
    return value instanceof Ping ? "ping" : "pong";
  }
  const back = trip(Ping);
  expect(new back().answer().to).toBe("ping");
  expect(new back().answer().answer()).toBeInstanceOf(back);
});

it("functions of every syntax", async () => {
  const k = 2;
  const object = {
    async wait(n: number): Promise<number> {
      return n * k;
    },
    *count(n: number): Generator<number> {
      for (let i = 0; i < n; i++) yield i * k;
    },
    async *stream(): AsyncGenerator<number> {
      yield k;
    },
    get arrow(): () => number {
      return () => k;
    },
  };
  const back = trip(object);
  expect([await back.wait(3), [...back.count(3)], (await back.stream().next()).value, back.arrow()]).toEqual([6, [0, 2, 4], 2, 2]);
  const loops: (() => number)[] = [];
  for (let i = 0; i < 3; i++) loops.push(() => i);
  expect(trip(loops).map((f) => f())).toEqual([0, 1, 2]);
  const { a, ...rest } = { a: 1, b: 2 };
  const withDefaults = ({ x = k, y = rest.b } = {}, ...more: number[]): number => x + y + a + more.length;
  expect(trip(withDefaults)(undefined, 5)).toBe(6);
  const annotated = Object.assign((n: number) => n + annotated.step, { step: 4 });
  expect([trip(annotated)(1), trip(annotated).name, trip(annotated).length]).toEqual([5, "", 1]);
});

describe("serializers", () => {
  class Handle {
    #open = true;
    constructor(readonly name: string) {}
    get isOpen(): boolean {
      return this.#open;
    }
  }
  const codecFor = (): Codec => new Codec({ modules });

  it("for a class of the program or of the platform, at any depth, once for each instance; not for its subclasses", async () => {
    const [driver, worker] = [codecFor(), codecFor()];
    let calls = 0;
    driver.registerSerializer(Handle, {
      serialize: (handle) => {
        calls++;
        return { name: handle.name };
      },
      deserialize: ({ name }) => new Handle(name),
    });
    driver.registerSerializer(Headers, { serialize: (headers) => [...headers], deserialize: (entries) => new Headers(entries) });
    await worker.importSerializers(driver.exportSerializers() as Uint8Array);
    const one = new Handle("one");
    const back = trip({ list: [one, one], map: new Map([["k", one]]), headers: new Headers({ a: "b" }) }, driver, worker);
    expect([back.list[0]?.isOpen, back.list[0] === back.list[1], back.map.get("k") === back.list[0], calls]).toEqual([true, true, true, 1]);
    expect([...back.headers]).toEqual([["a", "b"]]);
    class Special extends Handle {}
    expect(() => driver.serialize(new Special("s"))).toThrow(/an instance of Special, which has private #members in Handle/);
  });

  it("that throws is named, with the way to the value; what is none is refused", () => {
    const driver = codecFor();
    driver.registerSerializer(Handle, {
      serialize: () => {
        throw new Error("locked");
      },
      deserialize: () => new Handle("x"),
    });
    expect(() => driver.serialize({ a: [new Handle("h")] })).toThrow("value.a[0] → the serializer registered for Handle threw: locked");
    const wrong = (register: () => void): boolean => {
      try {
        register();
      } catch (error) {
        return isTrayError(error, "INVALID_ARGUMENT");
      }
      return false;
    };
    expect(wrong(() => driver.registerSerializer(undefined as never, { serialize: () => 1, deserialize: () => ({}) }))).toBe(true);
    expect(wrong(() => driver.registerSerializer(Handle, { serialize: () => 1 } as never))).toBe(true);
  });
});
