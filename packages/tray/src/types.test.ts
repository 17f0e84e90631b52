// Type tests: they are checked by the compiler (npm run lint, "types of the tests"); running them only shows that they exist.
import type { ActorHandle, ObjectRef, ObjectRefGenerator, RemoteFunction } from "./index.js";
import { get, remote } from "./index.js";
import { ActorPool, map, Queue } from "./util.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_T extends true>(): void => undefined;

const add = remote((a: number, b: number) => a + b);
const later = remote(async (name: string) => ({ name }));
const three = remote((): [number, string, boolean] => [1, "a", true], { numReturns: 3 });

const upTo = remote(function* (n: number) {
  for (let i = 0; i < n; i++) yield i;
});
const lines = remote(async function* (file: string) {
  yield Promise.resolve(file);
});
const rows = remote((n: number): Iterator<{ row: number }> & Iterable<{ row: number }> => [{ row: n }].values(), { numReturns: "streaming" });
const never = remote((): never => {
  throw new Error("always");
});

class Counter {
  *history(from: number): Generator<string> {
    yield String(from);
  }
  count = 0;
  constructor(start: number, step = 1) {
    this.count = start + step;
  }
  inc(by: number): number {
    this.count += by;
    return this.count;
  }
  async name(): Promise<string> {
    return "counter";
  }
}
const CounterActor = remote(Counter);

// Never called: only its types matter.
async function typesOf(): Promise<void> {
  const sum = add.remote(1, 2);
  same<Equal<typeof sum, ObjectRef<number>>>();
  add.remote(sum, 3); // a parameter takes its value or a reference to it
  // @ts-expect-error: a string is not a number
  add.remote("1", 2);
  // @ts-expect-error: two arguments
  add.remote(1);
  const named = later.remote("x");
  same<Equal<typeof named, ObjectRef<{ name: string }>>>(); // promises are unwrapped
  const [a, b, c] = three.remote();
  same<Equal<[typeof a, typeof b, typeof c], [ObjectRef<number>, ObjectRef<string>, ObjectRef<boolean>]>>();
  same<Equal<typeof add.function, (a: number, b: number) => number>>();
  const again: RemoteFunction<[a: number, b: number], number> = add.options({ numCpus: 2 });
  // @ts-expect-error: no such option
  add.options({ numCpu: 2 });

  const value = await get(sum);
  same<Equal<typeof value, number>>();
  const values = await get([sum, named] as const);
  same<Equal<(typeof values)[0], number>>();
  same<Equal<(typeof values)[1], { name: string }>>();

  const counter = CounterActor.remote(1);
  same<Equal<typeof counter, ActorHandle<Counter>>>();
  const count = counter.inc.remote(2);
  same<Equal<typeof count, ObjectRef<number>>>();
  const text = counter.name.remote();
  same<Equal<typeof text, ObjectRef<string>>>();
  // @ts-expect-error: fields are not methods
  void counter.count;
  // @ts-expect-error: the constructor takes numbers
  CounterActor.remote("1");
  void again;

  const numbers = upTo.remote(3);
  same<Equal<typeof numbers, ObjectRefGenerator<number>>>(); // generators stream
  for await (const ref of numbers) same<Equal<typeof ref, ObjectRef<number>>>();
  const texts = lines.options({ generatorBackpressureNumObjects: 2 }).remote("x");
  same<Equal<typeof texts, ObjectRefGenerator<string>>>(); // what is yielded is awaited
  const told = rows.remote(1);
  same<Equal<typeof told, ObjectRefGenerator<{ row: number }>>>();
  const threw = never.remote();
  same<Equal<typeof threw, ObjectRef<never>>>(); // no generator
  const history = counter.history.remote(1);
  same<Equal<typeof history, ObjectRefGenerator<string>>>();
  // @ts-expect-error: not a number, nor "streaming"
  upTo.options({ numReturns: "flowing" });
}

async function typesOfUtil(): Promise<void> {
  const pool = new ActorPool([CounterActor.remote(1), CounterActor.remote(2)]);
  const counts = pool.map((counter, by: number) => counter.inc.remote(by), [1, 2]);
  same<Equal<typeof counts, AsyncGenerator<number, void, undefined>>>();
  const names = pool.mapUnordered((counter) => counter.name.remote(), ["a"]);
  same<Equal<typeof names, AsyncGenerator<string, void, undefined>>>(); // promises are unwrapped
  // @ts-expect-error: no such method
  pool.submit((counter, by: number) => counter.dec.remote(by), 1);
  // @ts-expect-error: the values are not numbers
  pool.map((counter, by: number) => counter.inc.remote(by), ["1"]);
  const next = await pool.getNext<number>({ timeout: "1s" });
  same<Equal<typeof next, number>>();

  const queue = new Queue<{ id: number }>({ maxSize: 3, actorOptions: { name: "q", getIfExists: true } });
  await queue.put({ id: 1 }, { timeout: 5 });
  const item = await queue.get();
  same<Equal<typeof item, { id: number }>>();
  const batch = await queue.getNowaitBatch(2);
  same<Equal<typeof batch, { id: number }[]>>();
  // @ts-expect-error: not an item of this queue
  await queue.put("1");
  // @ts-expect-error: the queue decides how many calls its actor takes
  new Queue({ actorOptions: { maxConcurrency: 2 } });

  const lengths = map(async (text: string) => text.length, ["a"]);
  same<Equal<typeof lengths, AsyncGenerator<number, void, undefined>>>();
  const increment = remote((n: number) => n + 1);
  const more = map(increment, [1, increment.remote(1)], { maxInFlight: 2, ordered: false });
  same<Equal<typeof more, AsyncGenerator<number, void, undefined>>>();
  // @ts-expect-error: the items are not numbers
  map(increment, ["1"]);
}

it("the public types are as documented", () => {
  expect([typeof typesOf, typeof typesOfUtil]).toEqual(["function", "function"]);
});
