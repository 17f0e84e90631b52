// References of every kind, made and forgotten, for many rounds, while workers are killed. Then lets go of what it still holds.
// Arguments: rounds, and a file whose appearance ends it.   says: forgotten {rounds, kinds, deaths}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [rounds = "100", end] = process.argv.slice(2);
const atOnce = 16;
const large = 150_000; // bytes: in the node's store

await tray.init();

let seed = 12_345;
const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32;
const bytes = (n) => new Uint8Array(large + n).fill(n % 251);
const expectBytes = (value, n) => {
  if (value.length !== large + n || value[0] !== n % 251 || value.at(-1) !== n % 251) throw new Error(`wrong bytes: ${value.length} of ${n}`);
};

const make = tray.remote((n) => new Uint8Array(150_000 + n).fill(n % 251), { numCpus: 0.2 });
const sizeOf = tray.remote((value) => value.length, { numCpus: 0.2 });
const sizeInside = tray.remote(async ({ refs }) => (await tray.get(refs)).reduce((sum, value) => sum + value.length, 0), { numCpus: 0.2 });
const putThere = tray.remote(async (n) => ({ made: await tray.put(new Uint8Array(150_000 + n).fill(n % 251)) }), { numCpus: 0.2 });
const passOn = tray.remote(async ({ ref }) => ({ again: ref, size: sizeOf.remote(ref) }), { numCpus: 0.2 });
const fail = tray.remote(
  (value) => {
    throw new Error(`not ${value.length}`);
  },
  { numCpus: 0.2 },
);
const dieOnce = tray.remote(
  async ({ ref }, n) => {
    if (tray.getRuntimeContext().attemptNumber === 0) process.kill(process.pid, "SIGKILL");
    return [await tray.get(ref), new Uint8Array(150_000 + n).fill(n % 251)];
  },
  { numCpus: 0.2, maxRetries: 3, numReturns: 2 },
);
const dieForGood = tray.remote(() => process.kill(process.pid, "SIGKILL"), { numCpus: 0.2, maxRetries: 0 });

/** Large and small ones in turn, and references to what its worker owns. */
const stream = tray.remote(
  async function* (n, dieAt) {
    for (let i = 0; i < 6; i++) {
      if (i === dieAt && tray.getRuntimeContext().attemptNumber === 0) process.kill(process.pid, "SIGKILL");
      yield i % 3 === 2 ? { made: await tray.put(n) } : i % 3 === 1 ? n : new Uint8Array(150_000 + n).fill(n % 251);
    }
  },
  { numCpus: 0.2, maxRetries: 3, generatorBackpressureNumObjects: 3 },
);
const expectItem = async (value, i, n) => {
  if (i % 3 === 0) expectBytes(value, n);
  else if ((i % 3 === 2 ? await tray.get(value.made) : value) !== n) throw new Error(`wrong item ${i}`);
};

class Keeper {
  kept = [];
  keep(box) {
    this.kept.push(box.ref);
    if (this.kept.length > 4) this.kept.shift(); // forgotten, not released
  }
  async handTo(other) {
    if (this.kept.length > 0) await tray.get(other.keep.remote({ ref: this.kept[0] }));
  }
  *stream(n) {
    for (let i = 0; i < 4; i++) yield new Uint8Array(150_000 + n).fill(n % 251);
  }
  make(n) {
    return new Uint8Array(150_000 + n).fill(n % 251);
  }
  die() {
    process.kill(process.pid, "SIGKILL");
  }
  async sizes() {
    return (await tray.get([...this.kept])).map((value) => value.length);
  }
}
const RemoteKeeper = tray.remote(Keeper, { numCpus: 0, maxRestarts: -1, maxTaskRetries: -1 });
const keepers = [RemoteKeeper.remote(), RemoteKeeper.remote()];

/** Deaths that were meant, and what follows for others who needed that process. */
const meant = (error) =>
  error instanceof tray.OwnerDiedError ||
  error instanceof tray.WorkerCrashedError ||
  error instanceof tray.ObjectLostError ||
  (error.cause !== undefined && meant(error.cause));

const kinds = {
  putAndGet: async (n) => expectBytes(await tray.get(await tray.put(bytes(n))), n),
  putAndForget: async (n) => void (await tray.put(bytes(n))),
  resultForgotten: async (n) => {
    make.remote(n);
  },
  resultRead: async (n) => expectBytes(await tray.get(make.remote(n)), n),
  argument: async (n) => void (await tray.get(sizeOf.remote(make.remote(n)))),
  argumentInside: async (n) => void (await tray.get(sizeInside.remote({ refs: [await tray.put(bytes(n)), make.remote(n)] }))),
  inPut: async (n) => {
    const outer = await tray.put({ inner: [await tray.put(bytes(n)), make.remote(n)] });
    const { inner } = await tray.get(outer);
    for (const value of await tray.get(inner)) expectBytes(value, n);
  },
  madeThere: async (n) => {
    const { made } = await tray.get(putThere.remote(n));
    expectBytes(await tray.get(made), n);
  },
  passedOn: async (n) => {
    const { again, size } = await tray.get(passOn.remote({ ref: await tray.put(bytes(n)) }));
    expectBytes(await tray.get(again), n);
    if ((await tray.get(size)) !== large + n) throw new Error("wrong size");
  },
  keptByActor: async (n) => {
    await tray.get(keepers[n % 2].keep.remote({ ref: make.remote(n) }));
  },
  handedOn: async () => {
    // In one direction only: two actors that wait for each other would do so for ever.
    await tray.get(keepers[0].handTo.remote(keepers[1]));
    await tray.get(keepers[1].sizes.remote());
  },
  actorResult: async (n) => expectBytes(await tray.get(keepers[n % 2].make.remote(n)), n),
  actorResultForgotten: async (n) => {
    keepers[n % 2].make.remote(n);
  },
  failed: async (n) => {
    await tray.get(fail.remote(make.remote(n))).catch(() => undefined);
  },
  cancelled: async (n) => {
    const ref = sizeOf.remote(make.remote(n));
    await tray.cancel(ref);
    await tray.get(ref).catch(() => undefined);
  },
  released: async (n) => {
    const ref = make.remote(n);
    const other = await tray.put(bytes(n));
    ref.release();
    other.release();
  },
  streamed: async (n) => {
    let i = 0;
    for await (const ref of stream.remote(n)) await expectItem(await tray.get(ref), i++, n);
    if (i !== 6) throw new Error(`${i} items`);
  },
  streamLeft: async (n) => {
    let i = 0;
    for await (const ref of stream.remote(n)) {
      if (i === n % 4) break;
      await expectItem(await tray.get(ref), i++, n);
    }
  },
  streamForgotten: async (n) => {
    const items = stream.remote(n);
    if (n % 2 === 0) await items.next();
  },
  streamCancelled: async (n) => {
    const items = stream.remote(n);
    await items.next();
    await tray.cancel(items);
  },
  streamOfActor: async (n) => {
    for await (const ref of keepers[n % 2].stream.remote(n)) {
      expectBytes(await tray.get(ref), n);
      if (n % 3 === 0) break;
    }
  },
  waited: async (n) => void (await tray.wait([make.remote(n), make.remote(n + 1)], { numReturns: 1 })),
  workerDies: async (n) => {
    const [first, second] = dieOnce.remote({ ref: await tray.put(bytes(n)) }, n);
    expectBytes(await tray.get(first), n);
    second.release();
  },
  workerDiesForGood: async () => {
    await tray.get(dieForGood.remote()).catch(() => undefined);
  },
};
kinds.streamDies = async (n) => {
  let i = 0;
  for await (const ref of stream.remote(n, n % 6)) {
    await expectItem(await tray.get(ref), i, n).catch((error) => {
      if (i % 3 !== 2) throw error; // what the dead worker owned
    });
    i++;
  }
  if (i !== 6) throw new Error(`${i} items`);
};
/** A death costs a process start: fewer of those. */
kinds.actorDies = async (n) => {
  const results = [0, 1, 2].map((i) => keepers[n % 2].make.remote(n + i));
  await tray.get(keepers[n % 2].die.options({ maxTaskRetries: 0 }).remote()).catch(() => undefined);
  for (const [i, value] of (await tray.get(results)).entries()) expectBytes(value, n + i);
};
const rare = ["streamDies", "workerDies", "workerDiesForGood", "actorDies"];
const common = Object.keys(kinds).filter((name) => !rare.includes(name));

const counts = {};
let deaths = 0;
async function round(n) {
  const among = random() < 0.02 ? rare : common;
  const name = among[Math.floor(random() * among.length)];
  counts[name] = (counts[name] ?? 0) + 1;
  try {
    await kinds[name](n);
  } catch (error) {
    if (!meant(error)) throw new Error(`round ${n}, ${name}`, { cause: error });
    deaths++;
  }
}

let next = 0;
const workers = Array.from({ length: atOnce }, async () => {
  while (next < Number(rounds)) await round(next++);
});
await Promise.all(workers);
for (const keeper of keepers) await tray.kill(keeper);
say("forgotten", { rounds: next, kinds: counts, deaths });
while (!existsSync(end)) await delay(20);
await tray.shutdown();
