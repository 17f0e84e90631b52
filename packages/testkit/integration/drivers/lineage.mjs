// Objects that lie on one node only, which dies: each case is prepared, then asked for after the node's death and (some) after the next one's.
// Argument: a directory, in which executions are counted. A file `silent-N` in it says that the raylet of the N-th far node answers nothing any more, `lost-N`
// that it is dead and another one there.
//   says: prepared-N {nodeId}, asking-N, and per case and loss: case {name, loss, error}
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import * as tray from "tray";
import { rejection, say } from "./checks.mjs";

const delay = (ms, options) => pause(ms, undefined, options);
const [dir = "."] = process.argv.slice(2);
await tray.init();

const far = { numCpus: 0, resources: { far: 0.001 } };
const size = 200_000; // bytes: in a node's store
const ran = (name) => appendFileSync(join(dir, `${name}.ran`), "x");
const runs = (name) => (existsSync(join(dir, `${name}.ran`)) ? readFileSync(join(dir, `${name}.ran`), "utf8").length : 0);
const farNode = async () => (await tray.nodes()).find((node) => node.alive && !node.isHead);

/** Makes `size` bytes of `n` on the far node. */
const make = tray.remote((name, n) => {
  ran(name);
  return new Uint8Array(size).fill(n);
}, far);
/** A large value from a large one. */
const inc = tray.remote((name, value) => {
  ran(name);
  return value.map((x) => x + 1);
}, far);
const first = tray.remote((value) => value[0], { ...far, maxRetries: -1 });
const here = { numCpus: 0, schedulingStrategy: { nodeId: tray.getRuntimeContext().nodeId, soft: false } };
const firstHere = tray.remote((value) => value[0], here);
const isLost = (error, code = "OBJECT_RECONSTRUCTION_FAILED") => {
  assert.equal(error.code, code, error.message);
  assert(error instanceof tray.ObjectLostError, error.message);
};

class Producer {
  calls = 0;
  #large;
  constructor(large) {
    this.#large = large;
  }
  make(name, n) {
    ran(name);
    this.calls++;
    return new Uint8Array(size).fill(n);
  }
  given() {
    return this.#large[0];
  }
}
/** Makes large values from what others own, and lets go of that. */
class Borrower {
  async derive(refs, inc, first) {
    this.first = first;
    this.derived = refs.map((ref) => inc.remote("borrowed-inc", ref));
    const values = await tray.get(this.derived.map((ref) => first.remote(ref)));
    for (const ref of refs) ref.release();
    return values;
  }
  firstOf(i) {
    return tray.get(this.first.remote(this.derived[i]));
  }
}
const anyTimes = { ...far, maxRestarts: -1, maxTaskRetries: -1 };
const RemoteProducer = tray.remote(Producer, anyTimes);

// What a case checks must be named in its check: what only its preparation knows is garbage, and may be let go.

/** name → what to prepare; answers what to check after each loss (a function, or one each), or besides what to ask for when the node has fallen silent. */
const cases = {
  "a copy on another node is used, nothing runs again": async () => {
    const ref = make.remote("cached", 1);
    assert.equal(await tray.get(firstHere.remote(ref)), 1);
    return async () => {
      assert.equal(await tray.get(firstHere.remote(ref)), 1);
      assert.equal(await tray.get(first.remote(ref)), 1);
      assert.equal(runs("cached"), 1);
    };
  },
  "a lost result is made again, and fails when its task's retries are spent": async () => {
    const ref = make.options({ maxRetries: 1 }).remote("basic", 2);
    assert.equal(await tray.get(first.remote(ref)), 2);
    return [
      async () => {
        assert.equal(await tray.get(first.remote(ref)), 2);
        assert.equal(runs("basic"), 2);
      },
      async () => {
        const error = await rejection(tray.get(ref));
        isLost(error);
        assert.equal(error.details.reason, "retries spent");
        assert.match(error.message, /maxRetries \(1\)/);
        isLost(await rejection(tray.get(first.remote(ref))));
        assert.equal(runs("basic"), 2);
      },
    ];
  },
  "without retries a lost result fails at once, and so does what uses it": async () => {
    const ref = make.options({ maxRetries: 0 }).remote("no-retries", 3);
    const chained = inc.remote("no-retries-inc", ref);
    await tray.wait([chained], { fetchLocal: false });
    return [
      async () => {
        for (const lost of [ref, chained]) {
          const error = await rejection(tray.get(lost));
          isLost(error);
          assert.equal(error.details.reason, "retries spent");
        }
        assert.equal(runs("no-retries"), 1);
      },
    ];
  },
  "put arguments that are held are used again": async () => {
    const large = await tray.put(new Uint8Array(size).fill(4));
    const result = inc.remote("put", large);
    assert.equal(await tray.get(first.remote(result)), 5);
    return async () => {
      assert.equal(await tray.get(first.remote(result)), 5);
      assert.equal((await tray.get(large))[0], 4);
    };
  },
  "small arguments are used again though nobody holds them any more": async () => {
    const small = await tray.put({ n: 6 });
    const computed = tray.remote((n) => n, far).remote(1);
    const inner = await tray.put(100);
    const boxed = await tray.put({ inner });
    const sum = tray.remote(async ({ n }, m, box) => new Uint8Array(size).fill(n + m + (await tray.get(box.inner))), far);
    const result = sum.remote(small, computed, boxed);
    assert.equal(await tray.get(first.remote(result)), 107);
    for (const ref of [small, computed, inner, boxed]) ref.release();
    return async () => assert.equal(await tray.get(first.remote(result)), 107);
  },
  "a large put argument that was released cannot come back: the error says so": async () => {
    const large = await tray.put(new Uint8Array(size).fill(7));
    const result = inc.remote("put-released", large);
    assert.equal(await tray.get(first.remote(result)), 8);
    large.release();
    return [
      async () => {
        const error = await rejection(tray.get(result));
        isLost(error);
        assert.equal(error.details.reason, "made by put");
        assert.match(error.message, /released.*put/);
      },
    ];
  },
  "what a task put on the dead node is lost with its owner": async () => {
    const [inner] = await tray.get(tray.remote(async () => [await tray.put(new Uint8Array(200_000))], far).remote());
    return [async () => isLost(await rejection(tray.get(inner)), "OWNER_DIED")];
  },
  "results of an actor with task retries are made again by its next life, whatever the number of deaths": async () => {
    const actor = RemoteProducer.remote(new Uint8Array(1));
    const ref = actor.make.remote("actor", 9);
    assert.equal(await tray.get(first.remote(ref)), 9);
    let losses = 0;
    return async () => {
      assert.equal(await tray.get(first.remote(ref)), 9);
      assert.equal(runs("actor"), ++losses + 1);
      assert.equal(await tray.get(actor.given.remote()), 0);
    };
  },
  "results of an actor without task retries are lost, the actor goes on": async () => {
    const actor = RemoteProducer.options({ maxTaskRetries: 0 }).remote(new Uint8Array(1).fill(3));
    const ref = actor.make.remote("actor-once", 10);
    assert.equal(await tray.get(first.remote(ref)), 10);
    return [
      async () => {
        const error = await rejection(tray.get(ref));
        isLost(error);
        assert.match(error.message, /maxTaskRetries/);
        assert.equal(runs("actor-once"), 1);
        while (!(await tray.get(actor.given.remote()).catch((e) => assert.equal(e.code, "ACTOR_UNAVAILABLE", e.message)))) await delay(5);
      },
    ];
  },
  "results of an actor that cannot be restarted are lost": async () => {
    const actor = RemoteProducer.options({ maxRestarts: 0 }).remote(new Uint8Array(1));
    const ref = actor.make.remote("actor-dead", 11);
    assert.equal(await tray.get(first.remote(ref)), 11);
    return [
      async () => {
        const error = await rejection(tray.get(ref));
        isLost(error);
        assert.equal(error.details.reason, "actor not restartable");
        assert.match(error.message, /node/);
        assert.equal((await rejection(tray.get(actor.given.remote()))).code, "ACTOR_DIED");
      },
    ];
  },
  "a lost argument of a constructor is made again for the actor's next life": async () => {
    const large = make.options({ maxRetries: -1 }).remote("constructor", 12);
    const actor = RemoteProducer.remote(large);
    assert.equal(await tray.get(actor.given.remote()), 12);
    large.release();
    return async () => assert.equal(await tray.get(actor.given.remote()), 12);
  },
  "an argument of a constructor that cannot be made again is the reason of the actor's death": async () => {
    const large = make.options({ maxRetries: 0 }).remote("constructor-once", 13);
    const actor = RemoteProducer.remote(large);
    assert.equal(await tray.get(actor.given.remote()), 13);
    return [
      async () => {
        const error = await rejection(tray.get(actor.given.remote()));
        assert.equal(error.code, "ACTOR_DIED", error.message);
        assert.match(error.message, /cannot be made again/);
      },
    ];
  },
  "several that need the same lost object have it made once": async () => {
    const root = make.remote("shared", 14);
    const children = [1, 2, 3, 4].map((i) => inc.remote(`shared-${i}`, root));
    assert.deepEqual(await tray.get(children.map((child) => first.remote(child))), [15, 15, 15, 15]);
    let losses = 0;
    return async () => {
      assert.deepEqual(await tray.get([...children, root].map((ref) => first.remote(ref))), [15, 15, 15, 15, 14]);
      losses++;
      assert.deepEqual([runs("shared"), ...[1, 2, 3, 4].map((i) => runs(`shared-${i}`))], Array(5).fill(losses + 1));
    };
  },
  "a dependency of which there is a copy elsewhere is not made again": async () => {
    const root = make.remote("kept", 16);
    assert.equal(await tray.get(firstHere.remote(root)), 16);
    const child = inc.remote("kept-inc", root);
    assert.equal(await tray.get(first.remote(child)), 17);
    return [
      async () => {
        assert.equal(await tray.get(first.remote(child)), 17);
        assert.equal(await tray.get(first.remote(root)), 16);
        assert.deepEqual([runs("kept"), runs("kept-inc")], [1, 2]);
      },
    ];
  },
  "a chain whose links were released is made again from its beginning, and the links go again": async () => {
    let link = make.remote("chain", 1);
    for (let i = 0; i < 5; i++) {
      const next = inc.remote("chain", link);
      link.release();
      link = next;
    }
    assert.equal(await tray.get(first.remote(link)), 6);
    let losses = 0;
    return async () => {
      assert.equal(await tray.get(first.remote(link)), 6);
      assert.equal(runs("chain"), 6 * (++losses + 1));
    };
  },
  "a result that is another one each time replaces what was lost, also when it is small then": async () => {
    const moody = tray.remote(() => (tray.getRuntimeContext().attemptNumber % 2 === 0 ? new Uint8Array(size).fill(18) : [19]), {
      ...far,
      maxRetries: -1,
    });
    const ref = moody.remote();
    assert.equal(await tray.get(first.remote(ref)), 18);
    // Small from then on: in the driver's memory, where no node's death reaches it.
    return async () => assert.equal(await tray.get(first.remote(ref)), 19);
  },
  "several results: the lost one is made again, the one with a copy elsewhere stays what it was": async () => {
    const two = tray.remote(
      () => {
        ran("several");
        const { attemptNumber } = tray.getRuntimeContext();
        return [new Uint8Array(size).fill(attemptNumber), new Uint8Array(size).fill(attemptNumber), attemptNumber];
      },
      { ...far, numReturns: 3 },
    );
    const [lost, copied, small] = two.remote();
    assert.equal(await tray.get(firstHere.remote(copied)), 0);
    assert.equal(await tray.get(first.remote(lost)), 0);
    let losses = 0;
    return async () => {
      assert.equal(await tray.get(first.remote(lost)), ++losses); // the attempt's number is visible to the task
      assert.deepEqual([await tray.get(firstHere.remote(copied)), await tray.get(first.remote(copied)), await tray.get(small)], [0, 0, 0]);
      assert.equal(runs("several"), losses + 1);
    };
  },
  "references inside arguments and results are made again": async () => {
    const inner = make.remote("inner", 20);
    const outer = await tray.put({ inner });
    const read = tray.remote(async (box, { inner: direct }) => [box.inner, (await tray.get(direct)).map((x) => x + 1)], { ...far, numReturns: 2 });
    const [again, sum] = read.remote(outer, { inner });
    assert.equal(await tray.get(first.remote(sum)), 21);
    const found = await tray.get(again);
    inner.release();
    return async () => {
      assert.equal(await tray.get(first.remote(sum)), 21);
      assert.equal(await tray.get(first.remote(found)), 20);
      const unpacked = await tray.get(outer);
      assert.equal(await tray.get(first.remote(unpacked.inner)), 20);
    };
  },
  "what a borrower needs again is made by its owner, or refused if that has freed it": async () => {
    const [kept, freed] = [make.remote("borrowed", 27), make.remote("borrowed-freed", 28)];
    const held = inc.remote("borrowed", freed); // by whose lineage the owner still knows what it has freed
    const borrower = tray.remote(Borrower, here).remote();
    assert.deepEqual(await tray.get(borrower.derive.remote([kept, freed], inc, first)), [28, 29]);
    freed.release();
    assert.equal(await tray.get(first.remote(held)), 29);
    return async () => {
      assert.deepEqual(await tray.get([borrower.firstOf.remote(0), first.remote(kept)]), [28, 27]);
      assert.equal(await tray.get(first.remote(held)), 29);
      const error = await rejection(tray.get(borrower.firstOf.remote(1)));
      assert.match(error.message, /it was freed/);
    };
  },
  "objects that were on the dead node's disk are made again": async () => {
    const parts = Array.from({ length: 10 }, (_, i) => tray.remote((n) => new Uint8Array(10 << 20).fill(n), { ...far, maxRetries: -1 }).remote(i));
    await tray.wait(parts, { numReturns: parts.length, fetchLocal: false });
    const node = await farNode();
    return [
      async () => {
        assert.notEqual((await farNode()).nodeId, node.nodeId);
        for (const [i, part] of parts.entries()) assert.equal(await tray.get(first.remote(part)), i);
      },
    ];
  },
  "tasks that ran or waited with an object when it was lost end well": async () => {
    const waiting = tray.remote(
      async (value, file) => {
        while (!existsSync(file)) await delay(10);
        return value[0];
      },
      { ...far, maxRetries: -1 },
    );
    const ref = make.options({ maxRetries: -1 }).remote("waited", 22);
    const running = waiting.remote(ref, join(dir, "lost-1"));
    const queued = inc.options({ maxRetries: -1 }).remote("waited-inc", ref);
    return [async () => assert.deepEqual([await tray.get(running), await tray.get(first.remote(queued))], [22, 23])];
  },
  "a task or an actor that holds the only CPU does not keep its own argument from being made": async () => {
    const wholeCpu = { ...far, numCpus: 1, maxRetries: -1 };
    const gate = join(dir, "gate");
    const open = tray.remote(
      async (file) => {
        while (!existsSync(file)) await delay(5);
        return "cpu";
      },
      { ...far, maxRetries: -1 },
    );
    const ref = make.options(wholeCpu).remote(open.remote(gate), 24);
    // Borrowed: who submits the task knows neither that it is not there yet nor, later, that it is lost.
    const relay = tray.remote(
      async (box, file) => {
        const result = first.options(wholeCpu).remote(box.ref);
        await tray.wait([result], { timeout: 300, fetchLocal: false }); // it has the CPU by now
        appendFileSync(file, "");
        return tray.get(result);
      },
      { numCpus: 0, maxRetries: -1 },
    );
    assert.equal(await tray.get(relay.remote({ ref }, gate)), 24);
    const actor = RemoteProducer.options({ numCpus: undefined }).remote(ref); // a CPU until it is constructed
    assert.equal(await tray.get(actor.given.remote()), 24);
    return async () => {
      assert.equal(await tray.get(actor.given.remote()), 24);
      assert.equal(await tray.get(relay.remote({ ref }, gate)), 24);
    };
  },
  "a get that waits for the node when it dies is answered": async () => {
    const made = make.remote("asked", 25);
    const hopeless = make.options({ maxRetries: 0 }).remote("asked-once", 26);
    await tray.wait([made, hopeless], { numReturns: 2, fetchLocal: false });
    const asked = [];
    return {
      during: () => {
        asked.push(tray.get(made), rejection(tray.get(hopeless).then((value) => value[0])));
        for (const one of asked) one.catch(() => undefined); // judged below
      },
      after: [
        async () => {
          const [value, error] = await Promise.all(asked);
          assert.equal(value[0], 25);
          isLost(error);
        },
      ],
    };
  },
};

/** What went wrong, or null. */
async function failureOf(body) {
  const aborter = new AbortController();
  const late = delay(20_000, { signal: aborter.signal }).then(() => Promise.reject(new Error("not done after 20 s")));
  late.catch(() => undefined);
  try {
    await Promise.race([body(), late]);
    return null;
  } catch (error) {
    return error.stack;
  } finally {
    aborter.abort();
  }
}
const checks = await Promise.all(
  Object.entries(cases).map(async ([name, prepare]) => {
    let prepared;
    const error = await failureOf(async () => (prepared = await prepare()));
    if (error !== null) say("case", { name, loss: 0, error });
    return { name, ...(prepared?.after === undefined ? { after: prepared } : prepared) };
  }),
);

const appears = async (name) => {
  while (!existsSync(join(dir, name))) await delay(10);
};

for (let loss = 1; loss <= 2; loss++) {
  say(`prepared-${loss}`, (await farNode()).nodeId);
  await appears(`silent-${loss}`);
  for (const { during } of checks) if (loss === 1) during?.();
  say(`asking-${loss}`, true);
  await appears(`lost-${loss}`);
  const bodies = checks.map(({ name, after }) => ({ name, body: Array.isArray(after) ? after[loss - 1] : after }));
  await Promise.all(
    bodies.filter(({ body }) => body !== undefined).map(async ({ name, body }) => say("case", { name, loss, error: await failureOf(body) })),
  );
}
await tray.shutdown();
