// The simulated user code: small functions and actors whose results can be checked.
import { type Activation, SimFailure } from "../user/activation.js";
import { type ActorMemory, actorPrograms, type Program, programs, type StreamProgram, streamPrograms } from "../user/registry.js";
import { ExitActor } from "../user/executor.js";
import { Blob, type SimHandle, type SimRef, type SimValue } from "../user/value.js";

const num = (v: SimValue | undefined): number => {
  if (typeof v !== "number") throw new Error(`not a number: ${JSON.stringify(v)}`);
  return v;
};
const refs = (v: SimValue | undefined): SimRef[] => v as unknown as SimRef[];

const all: Record<string, Program> = {
  add: async (act, a, b, ms) => {
    if (num(ms) > 0) await act.sleep(num(ms));
    return num(a) + num(b);
  },
  /** Counts the nodes of a tree, one task a node. */
  tree: async (act, depth, fan, ms, retries) => {
    if (num(ms) > 0) await act.sleep(num(ms) * act.random.next());
    if (num(depth) === 0) return 1;
    const children: SimRef[] = [];
    for (let i = 0; i < num(fan); i++)
      children.push(act.submit("tree", [num(depth) - 1, fan as number, ms as number, retries as number], { maxRetries: num(retries) }));
    let sum = 1;
    for (const child of children) sum += num(await act.get(child));
    return sum;
  },
  blob: async (act, seed, size, ms) => {
    if (num(ms) > 0) await act.sleep(num(ms));
    return new Blob(num(seed), num(size));
  },
  /** The next blob of a chain: large in, large out. */
  next: async (act, blob, ms) => {
    if (!(blob instanceof Blob)) throw new Error("not a blob");
    if (num(ms) > 0) await act.sleep(num(ms));
    return new Blob(blob.seed + 1, blob.size);
  },
  /** Adds up numbers and the seeds of blobs, which came as values or as references in a list. */
  sum: async (act, list, ...more) => {
    let sum = 0;
    const add = (v: SimValue): void => {
      sum += v instanceof Blob ? v.seed : num(v);
    };
    for (const ref of refs(list ?? [])) add(await act.get(ref));
    for (const value of more) add(value);
    return sum;
  },
  /** Reads references after a while, when whoever gave them has let go of them. */
  late: async (act, list, ms) => {
    await act.sleep(num(ms));
    let sum = 0;
    for (const ref of refs(list)) {
      const v = await act.get(ref);
      sum += v instanceof Blob ? v.seed : num(v);
    }
    return sum;
  },
  /** Objects that this worker owns, handed to the caller. */
  made: async (act, seed, count, size) => {
    const list: SimRef[] = [];
    for (let i = 0; i < num(count); i++) list.push(await act.put(num(size) === 0 ? num(seed) + i : new Blob(num(seed) + i, num(size))));
    return list;
  },
  /** Hands references on. */
  pass: async (act, list, ms) => {
    if (num(ms) > 0) await act.sleep(num(ms));
    return { passed: list as SimValue };
  },
  /** Lets another task make objects, and hands them on. */
  relay: async (act, seed, count, size) => {
    const inner = await act.get(act.submit("made", [num(seed), num(count), num(size)], { maxRetries: -1 }));
    return { passed: inner };
  },
  kamikaze: async (act, until, ms) => {
    await act.sleep(num(ms));
    if (act.attempt < num(until)) return act.crash();
    return act.attempt;
  },
  fail: async (act, message, ms) => {
    await act.sleep(num(ms));
    throw new Error(typeof message === "string" ? message : JSON.stringify(message));
  },
  flaky: async (act, until, ms) => {
    await act.sleep(num(ms));
    if (act.attempt < num(until)) throw new Error("not yet");
    return act.attempt;
  },
  slow: async (act, ms) => {
    await act.sleep(num(ms));
    return num(ms);
  },
  slowChildren: async (act, count, ms) => {
    const children: SimRef[] = [];
    for (let i = 0; i < num(count); i++) children.push(act.submit("slow", [num(ms)]));
    let sum = 0;
    for (const child of children) sum += num(await act.get(child));
    return sum;
  },
  /** Calls an actor in order; answers what the calls answered, or how they failed. */
  caller: async (act, handle, count) => {
    const calls: SimRef[] = [];
    for (let i = 0; i < num(count); i++) calls.push(act.callActor(handle as SimHandle, "inc", [0]));
    const answers: SimValue[] = [];
    for (const call of calls) {
      try {
        answers.push(await act.get(call));
      } catch (error) {
        if (!(error instanceof SimFailure)) throw error;
        answers.push({ failed: error.code, message: error.message });
      }
    }
    return answers;
  },
};

/** Items 1 to `count`: numbers, every third a blob when `size` is given. Its attempts before `until` die after item `dieAt`; it throws after `throwAt`. */
async function* items(
  act: Activation,
  count: number,
  size: number,
  ms: number,
  how: { until?: number; dieAt?: number; throwAt?: number },
): AsyncGenerator<SimValue, void, undefined> {
  for (let i = 1; i <= count; i++) {
    if (ms > 0) await act.sleep(ms);
    yield itemOf(i, size);
    if (i === how.dieAt && act.attempt < (how.until ?? 0)) await act.crash();
    if (i === how.throwAt) throw new Error("thrown on purpose");
  }
}
export const itemOf = (i: number, size: number): SimValue => (size > 0 && i % 3 === 0 ? new Blob(i, size) : i);

const allStreams: Record<string, StreamProgram> = {
  items: (act, count, size, ms, how) => items(act, num(count), num(size), num(ms), how as object),
  /** Objects that this worker owns. */
  async *putItems(act, count, size) {
    for (let i = 1; i <= num(count); i++) yield [await act.put(itemOf(i, num(size)))];
  },
  /** Passes on what another stream yields. */
  async *relayItems(act, count, size, backpressure) {
    const inner = act.stream("items", [num(count), num(size), 0, {}], { backpressure: num(backpressure), maxRetries: -1 });
    for (let ref = await act.next(inner); ref !== undefined; ref = await act.next(inner)) {
      yield await act.get(ref);
      act.release(ref);
    }
  },
};

const list = (state: ActorMemory): number => num(state["n"] as SimValue);

export function registerPrograms(): void {
  for (const [name, program] of Object.entries(all)) programs.set(name, program);
  for (const [name, program] of Object.entries(allStreams)) streamPrograms.set(name, program);
  actorPrograms.set("Counter", {
    construct: async (act, start, ms) => {
      if (num(ms) > 0) await act.sleep(num(ms));
      return { n: num(start), kept: [] };
    },
    methods: {
      inc: async (state, act, ms) => {
        if (num(ms) > 0) await act.sleep(num(ms));
        state["n"] = list(state) + 1;
        return {
          n: list(state),
          incarnation: act.user.executor.actor?.spec.incarnation ?? -1,
          at: act.user.process.clock.now(),
          actorId: act.user.executor.actor?.spec.actorId ?? "",
        };
      },
      boom: (_state, act) => act.crash(),
      exit: () => {
        throw new ExitActor();
      },
      fail: () => {
        throw new Error("refused");
      },
      /** Keeps references beyond the call. */
      keep: (state, act, given) => {
        const { actor } = act.user.executor;
        for (const ref of refs(given)) if (actor !== undefined) act.give(ref, actor.activation);
        state["kept"] = [...refs(state["kept"] as SimValue), ...refs(given)];
        return refs(state["kept"] as SimValue).length;
      },
      /** Reads what was kept, and lets go of it. */
      readKept: async (state, act) => {
        let sum = 0;
        const kept = refs(state["kept"] as SimValue);
        state["kept"] = [];
        for (const ref of kept) {
          const v = await act.get(ref);
          sum += v instanceof Blob ? v.seed : num(v);
          act.user.executor.actor?.activation.release(ref);
        }
        return sum;
      },
      /** A large result out of an actor. */
      blob: async (_state, act, seed, size, ms) => {
        if (num(ms) > 0) await act.sleep(num(ms));
        return new Blob(num(seed), num(size));
      },
      total: (state) => list(state),
    },
    streams: {
      items: (_state, act, count, size, ms) => items(act, num(count), num(size), num(ms), {}),
    },
  });
}
