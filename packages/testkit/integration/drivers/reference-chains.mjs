// Objects of other processes that are reachable through one chain only, each in every way of making it, with its owner alive and dead.
// Arguments: three files, whose appearance makes it read what is at the ends of the chains, let go of all, and end.
//   says: chained {objects}, read {case: length or error code}, released {}
import { existsSync } from "node:fs";
import * as tray from "tray";
import { delay, say } from "./checks.mjs";

const [readNow, letGo, end] = process.argv.slice(2);
const appeared = async (file) => {
  while (!existsSync(file)) await delay(20);
};
const isAlive = (pid) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

await tray.init();

const codeOf = (error) => (error.code === "TASK_ERROR" && error.cause !== undefined ? codeOf(error.cause) : (error.code ?? String(error)));
const lengthOf = (ref) =>
  tray.get(ref).then(
    (value) => value.length,
    (error) => codeOf(error),
  );

const bytes = tray.remote((n) => new Uint8Array(n), { numCpus: 0.1 });
class Owner {
  refs = [];
  async make(how, n) {
    const ref = how === "put" ? await tray.put(new Uint8Array(n)) : bytes.remote(n);
    await tray.wait([ref], { fetchLocal: false });
    this.refs.push(ref);
    return { ref };
  }
  drop() {
    for (const ref of this.refs) ref.release();
  }
  pid() {
    return process.pid;
  }
}
class Keeper {
  kept = new Map();
  keep(name, box) {
    this.kept.set(name, box.ref);
  }
  async passOn(name, box, keeper) {
    await tray.get(keeper.keep.remote(name, box));
  }
  pid() {
    return process.pid;
  }
  async read(name) {
    const ref = this.kept.get(name);
    const length = await lengthOf(ref);
    ref.release();
    this.kept.delete(name);
    return length;
  }
}
const RemoteOwner = tray.remote(Owner, { numCpus: 0 });
const RemoteKeeper = tray.remote(Keeper, { numCpus: 0 });
const owners = { "owner lives": RemoteOwner.remote(), "owner dies": RemoteOwner.remote() };
const [keeper, passer] = [RemoteKeeper.remote(), RemoteKeeper.remote()];
// Before any task: a process that has run some may own what they submitted, and take that with it when it dies as an actor.
const doomed = await tray.get([passer.pid.remote(), owners["owner dies"].pid.remote()]);
await tray.get([keeper.pid.remote(), owners["owner lives"].pid.remote()]);
const kill = async (pid) => {
  process.kill(pid, "SIGKILL");
  while (isAlive(pid)) await delay(5);
};

/** Follows a chain of values to the reference at its end, and reads that. */
const follow = async (value) => {
  while (!("ref" in value)) value = await tray.get(value.next);
  return await lengthOf(value.ref);
};
const few = { numCpus: 0.1 };
const descend = tray.remote(async (value, depth) => (depth > 0 ? await tray.get(descend.remote(value, depth - 1)) : await follow(value)), few);
const descendWithResult = tray.remote(
  async (box, depth) => (depth > 0 ? await tray.get(descendWithResult.remote(box, depth - 1)) : await follow(await tray.get(box.outer))),
  few,
);
const giveBack = tray.remote((value) => value, few);
const giveBackFromBelow = tray.remote((value, depth) => (depth > 0 ? { next: giveBackFromBelow.remote(value, depth - 1) } : value), few);
const readValue = tray.remote((value) => follow(value), few);

/** Each puts a reference to the end of a chain, and answers how to read it there. */
const chains = {
  nested: async (ref) => {
    const middle = await tray.put({ ref });
    const next = await tray.put({ next: middle });
    middle.release();
    return () => tray.get(descend.remote({ next }, 2)).finally(() => next.release());
  },
  returned: async (ref) => {
    const outer = giveBack.remote({ ref });
    await tray.wait([outer]);
    return async () => {
      const value = await tray.get(outer);
      outer.release();
      return await follow(value).finally(() => value.ref.release());
    };
  },
  returnedAndPassed: async (ref) => {
    const outer = giveBack.remote({ ref });
    await tray.wait([outer]);
    return () => tray.get(readValue.remote(outer)).finally(() => outer.release());
  },
  returnedAndPassedDown: async (ref) => {
    const outer = giveBack.remote({ ref });
    await tray.wait([outer]);
    return () => tray.get(descendWithResult.remote({ outer }, 2)).finally(() => outer.release());
  },
  returnedFromBelow: async (ref) => {
    const outer = giveBackFromBelow.remote({ ref }, 2);
    await tray.wait([outer]);
    return () =>
      tray
        .get(outer)
        .then(follow)
        .finally(() => outer.release());
  },
  passedOnByTheDead: async (ref, name) => {
    await tray.get(passer.passOn.remote(name, { ref }, keeper));
    return () => tray.get(keeper.read.remote(name));
  },
};

const ends = {};
let n = 150_000; // bytes: in the store; each object has a size of its own
await Promise.all(
  Object.entries(owners).flatMap(([fate, owner]) =>
    ["put", "result"].flatMap((how) =>
      Object.entries(chains).map(async ([name, chain]) => {
        const label = `${name}, ${how}, ${fate}`;
        const length = ++n;
        const { ref } = await tray.get(owner.make.remote(how, length));
        const read = await chain(ref, label);
        ref.release();
        ends[label] = async () => ({ length, read: await read() });
      }),
    ),
  ),
);
await tray.get(Object.values(owners).map((owner) => owner.drop.remote()));
await kill(doomed[0]);
say("chained", { objects: Object.keys(ends).length });

await appeared(readNow);
await kill(doomed[1]);
const read = {};
for (const [label, readEnd] of Object.entries(ends)) {
  const { length, read: got } = await readEnd();
  read[label] = got === length ? "read" : got;
}
say("read", read);

// A reference released while a get waits for it: what comes, and what is in it, is there as long as somebody has it.
const waitAndMake = tray.remote(async (gate) => {
  await tray.get(gate.opened);
  const ref = await tray.put(new Uint8Array(150_000));
  setTimeout(() => ref.release(), 20); // not left to garbage collection
  return { ref };
}, few);
const opened = tray.remote(() => delay(50), few).remote();
const outer = waitAndMake.remote({ opened });
const reading = tray.get(outer);
outer.release();
outer.release();
await delay(10);
for (const sinceMs = performance.now(); performance.now() - sinceMs < 200; ); // the value comes while this thread is busy
const { ref } = await reading;
say("releasedWhileRead", await lengthOf(ref));
ref.release();
opened.release();

await appeared(letGo);
await tray.kill(owners["owner lives"]);
say("released", {});
await appeared(end);
await tray.shutdown();
