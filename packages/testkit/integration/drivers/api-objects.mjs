import assert from "node:assert/strict";
import * as tray from "tray";
import { check, delay, rejection, runChecks } from "./checks.mjs";
import { Counted, Purse } from "./purse.mjs";

await tray.init();

check("put and get, small and large", async () => {
  assert.equal(await tray.get(await tray.put("small")), "small");
  const big = new Uint8Array(8 << 20).map((_, i) => i);
  assert.deepEqual(Buffer.compare(await tray.get(await tray.put(big)), big), 0);
});

check("large arguments and results keep their type and content", async () => {
  const double = tray.remote((x) => x.map((v) => v * 2));
  const result = await tray.get(double.remote(new Float64Array(1 << 18).fill(1.5)));
  assert.ok(result instanceof Float64Array);
  assert.equal(result.length, 1 << 18);
  assert.ok(result.every((v) => v === 3));
});

check("values are immutable: writing to what get gave changes it for nobody else", async () => {
  const ref = await tray.put(new Uint8Array(2 << 20).fill(3));
  const mine = await tray.get(ref);
  mine[0] = 9;
  assert.equal((await tray.get(ref))[0], 3);
  const spoil = tray.remote((x) => {
    x[1] = 9;
    return x[1];
  });
  assert.equal(await tray.get(spoil.remote(ref)), 9);
  assert.equal((await tray.get(ref))[1], 3);
});

check("everything that JavaScript has comes back as it went", async () => {
  const shared = { s: 1 };
  const value = {
    map: new Map([[{ k: 1 }, new Set([1, "2"])]]),
    date: new Date(86_400_000),
    big: 2n ** 80n,
    re: /a+b/giu,
    url: new URL("https://example.org/x?y=1"),
    nan: Number.NaN,
    minusZero: -0,
    infinite: -Infinity,
    none: undefined,
    nothing: null,
    text: "äöü \ud800 lone",
    bytes: Buffer.from("bytes"),
    floats: new Float32Array([1.5, 2.5]),
    one: shared,
    same: shared,
    // eslint-disable-next-line no-sparse-arrays
    holes: [1, , 3],
  };
  value.self = value;
  const echo = tray.remote((x) => x);
  const back = await tray.get(echo.remote(value));
  assert.equal(back.one, back.same);
  assert.equal(back.self, back);
  assert.equal(1 in back.holes, false);
  assert.ok(Object.is(back.minusZero, -0));
  assert.ok(Buffer.isBuffer(back.bytes));
  assert.deepEqual(back, value);
  assert.deepEqual(Object.keys(back), Object.keys(value));
});

check("instances come back as instances of the driver's own class", async () => {
  class Plain {
    constructor(x) {
      this.x = x;
    }
    twice() {
      return this.x * 2;
    }
  }
  const make = tray.remote((p) => {
    if (!(p instanceof Plain)) throw new Error("not an instance in the worker");
    return new Plain(p.twice());
  });
  const back = await tray.get(make.remote(new Plain(4)));
  assert.ok(back instanceof Plain);
  assert.equal(back.twice(), 16);
});

check("functions travel as values", async () => {
  const apply = tray.remote((f, x) => f(x));
  const k = 3;
  assert.equal(await tray.get(apply.remote((x) => x * k, 14)), 42);
});

check("registerSerializer holds in the workers too", async () => {
  class Celsius {
    #degrees;
    constructor(degrees) {
      this.#degrees = degrees;
    }
    get degrees() {
      return this.#degrees;
    }
  }
  tray.registerSerializer(Celsius, { serialize: (v) => v.degrees, deserialize: (d) => new Celsius(d) });
  const warmer = tray.remote((t) => new Celsius(t.degrees + 1));
  const back = await tray.get(warmer.remote(new Celsius(20)));
  assert.ok(back instanceof Celsius);
  assert.equal(back.degrees, 21);
});

check("instances with private members travel when their class registers itself, of a module and of the program", async () => {
  class Account {
    #balance;
    constructor(balance) {
      this.#balance = balance;
    }
    static {
      tray.registerSerializer(Account, { serialize: (account) => account.#balance, deserialize: (balance) => new Account(balance) });
    }
    deposit(amount) {
      return new Account(this.#balance + amount);
    }
    get balance() {
      return this.#balance;
    }
  }
  const account = await tray.get(tray.remote((a) => a.deposit(5)).remote(new Account(10)));
  assert.ok(account instanceof Account);
  assert.equal(account.balance, 15);
  const double = tray.remote((purse) => [purse instanceof Purse, Purse.of(purse.coins * 2)]);
  const [same, purse] = await tray.get(double.remote(new Purse(4)));
  assert.ok(same && purse instanceof Purse);
  assert.equal(purse.coins, 8);
  assert.equal((await tray.get(await tray.put(purse))).coins, 8);
});

check("an exported class that names itself is the same class in a task", async () => {
  const [same, made] = await tray.get(tray.remote((c) => [c instanceof Counted, new Counted()]).remote(new Counted()));
  assert.ok(same && made instanceof Counted);
});

check("references inside results keep what they name alive", async () => {
  const make = tray.remote(async () => ({ inner: await tray.put("deep"), big: await tray.put(new Uint8Array(1 << 20).fill(5)) }));
  const outer = await tray.get(make.remote());
  globalThis.gc();
  await delay(50);
  assert.equal(await tray.get(outer.inner), "deep");
  assert.equal((await tray.get(outer.big))[5], 5);
});

check("a reference that was let go is freed in the store", async () => {
  const used = async () => {
    // A released block may be given again at once: storing twice the arena shows that it is.
    for (let i = 0; i < 12; i++) {
      const ref = await tray.put(new Uint8Array(32 << 20).fill(i));
      assert.equal((await tray.get(ref))[0], i);
      ref.release();
    }
  };
  await used();
  const ref = await tray.put(1);
  ref.release();
  assert.match((await rejection((async () => tray.get(ref))())).message, /releas/i);
});

check("an object of a task that has ended on its own worker outlives that worker's next tasks", async () => {
  const produce = tray.remote((n) => new Uint8Array(300_000).fill(n));
  const refs = [1, 2, 3, 4].map((n) => produce.remote(n));
  const sums = tray.remote((...arrays) => arrays.map((a) => a[0] + a[a.length - 1]));
  assert.deepEqual(await tray.get(sums.remote(...refs)), [2, 4, 6, 8]);
});

await runChecks();
await tray.shutdown();
