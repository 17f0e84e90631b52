// What simulated drivers do: each workload submits work, awaits every answer, and judges it.
import { SimFailure } from "../user/activation.js";
import { Blob, type SimHandle, type SimRef, type SimValue } from "../user/value.js";
import { Violation } from "../world/event-log.js";
import { itemOf } from "./programs.js";
import type { Outcome, Stage } from "./stage.js";

export type Workload = (s: Stage) => Promise<void>;

const largeSize = (s: Stage): number => s.pick(2_000, 9_000, 30_000);
const anySize = (s: Stage): number => (s.chance(0.5) ? s.between(1, 400) : largeSize(s));

/** Independent tasks, short and long, of several sizes. */
const plain: Workload = async (s) => {
  const maxRetries = s.pick(0, 3, -1);
  const resources = s.pick<Record<string, number>>({ CPU: 1 }, { CPU: 1 }, { CPU: 0.5 }, {});
  const count = s.between(1, 60);
  const ms = s.pick(0, 0, 1, 20);
  const spread = s.chance(0.2);
  const refs: SimRef[] = [];
  for (let i = 0; i < count; i++) refs.push(s.act.submit("add", [i, 1000, ms * s.random.next()], { maxRetries, resources, spread }));
  for (const [i, ref] of refs.entries()) {
    const value = await s.value(`task ${i} of ${count}`, ref, [], maxRetries === -1);
    if (value !== undefined) s.equal(`task ${i}`, value, i + 1000);
  }
};

/** Tasks that wait for tasks, deeper than the cluster has processors. */
const nested: Workload = async (s) => {
  const [depth, fan] = s.pick([1, 5], [2, 3], [3, 2], [5, 1]) as [number, number];
  const retries = s.pick(3, -1);
  const ref = s.act.submit("tree", [depth, fan, s.pick(0, 10), retries], { maxRetries: retries });
  const value = await s.value("nested tasks", ref, [], retries === -1);
  let nodes = 0;
  for (let d = 0; d <= depth; d++) nodes += fan ** d;
  if (value !== undefined) s.equal("nested tasks", value, nodes);
};

/** Results of tasks as arguments of tasks, as values and inside lists. */
const fanIn: Workload = async (s) => {
  const count = s.between(2, 8);
  const inputs: SimRef[] = [];
  let expected = 0;
  for (let i = 0; i < count; i++) {
    expected += i + 1;
    inputs.push(s.act.submit("blob", [i + 1, anySize(s), s.int(15)], { maxRetries: 3 }));
  }
  const direct = s.act.submit("sum", [[], ...inputs]);
  const inside = s.act.submit("sum", [inputs]);
  const mixed = s.act.submit("sum", [inputs.slice(1), inputs[0] as SimRef, 5]);
  if (s.chance(0.7)) for (const ref of inputs) s.act.release(ref);
  for (const [what, ref, more] of [
    ["values", direct, 0],
    ["references", inside, 0],
    ["both", mixed, 5],
  ] as const) {
    const value = await s.value(`a sum of ${what}`, ref);
    if (value !== undefined) s.equal(`a sum of ${what}`, value, expected + more);
  }
};

interface Answer {
  readonly n: number;
  readonly incarnation: number;
  readonly at: number;
  readonly actorId: string;
}

function acknowledge(s: Stage, value: SimValue): Answer {
  const answer = value as unknown as Answer;
  s.checks.acknowledged(answer.actorId, answer.incarnation, answer.at);
  return answer;
}

/** Within one incarnation the answers of one caller count up. */
function checkCounts(s: Stage, what: string, answers: readonly (Answer | undefined)[], exact: boolean): void {
  let last: Answer | undefined;
  for (const answer of answers) {
    if (answer === undefined) continue;
    if (
      last !== undefined &&
      (answer.incarnation < last.incarnation || (answer.incarnation === last.incarnation && (exact ? answer.n !== last.n + 1 : answer.n <= last.n)))
    ) {
      throw new Violation(`${what}: ${JSON.stringify(answer)} after ${JSON.stringify(last)}`);
    }
    last = answer;
  }
  void s;
}

/** Calls of an actor from the driver and from tasks, in order. */
const counter: Workload = async (s) => {
  const maxRestarts = s.pick(0, 2, -1);
  const maxTaskRetries = s.pick(0, 0, 2, -1);
  const handle = s.act.createActor("Counter", [0, s.pick(0, 20)], {
    maxRestarts,
    maxTaskRetries,
    placement: { CPU: 1 },
    resources: s.pick<Record<string, number>>({}, { CPU: 0.1 }),
  });
  const own = s.between(1, 20);
  const callers: SimRef[] = [];
  for (let i = s.int(3); i > 0; i--) callers.push(s.act.submit("caller", [handle, s.between(1, 8)], { maxRetries: s.pick(0, 3) }));
  const calls: SimRef[] = [];
  for (let i = 0; i < own; i++) calls.push(s.act.callActor(handle, "inc", [s.chance(0.2) ? s.int(10) : 0]));
  const endless = maxRestarts === -1 && maxTaskRetries === -1;
  const answers: (Answer | undefined)[] = [];
  for (const [i, call] of calls.entries()) {
    const value = await s.value(`call ${i}`, call, [], endless);
    answers.push(value === undefined ? undefined : acknowledge(s, value));
  }
  checkCounts(s, "own calls", answers, callers.length === 0 && !s.deadly);
  for (const caller of callers) {
    const value = await s.value("a task that calls the actor", caller);
    if (value === undefined) continue;
    const given: (Answer | undefined)[] = [];
    for (const one of value as readonly SimValue[]) {
      const { failed, message } = one as { failed?: string; message?: string };
      if (failed === undefined) given.push(acknowledge(s, one));
      else s.mayFail("a call from a task", { code: failed, message: message ?? "" });
    }
    checkCounts(s, "calls from a task", given, false);
  }
};

/** Named actors: found by others, taken, found again. */
const named: Workload = async (s) => {
  const name = `named-${s.int(3)}`;
  const namespace = "shared";
  const handle = s.act.createActor("Counter", [0, 0], { name, namespace, getIfExists: true, maxRestarts: -1, maxTaskRetries: -1 });
  // With getIfExists the handle may stand for an actor of another driver, which may be gone by now.
  const gone = ["ACTOR_DIED", "ACTOR_UNAVAILABLE", "NAME_TAKEN"];
  await s.value("a call of a named actor", s.act.callActor(handle, "inc", [0]), gone);
  try {
    const found = await s.act.getActor(name, namespace);
    await s.value("a call of a found actor", s.act.callActor(found, "inc", [1]), gone);
  } catch (error) {
    if (!(error instanceof SimFailure) || error.code !== "ACTOR_NOT_FOUND") throw error;
  }
  const second = s.act.createActor("Counter", [0, 0], { name: `own-${s.act.taskId}-${s.int(1_000_000)}`, maxRestarts: -1, maxTaskRetries: -1 });
  await s.value("a call of an actor with a name of its own", s.act.callActor(second, "inc", [0]), [], true);
};

/** Kills: for good, and with a restart. */
const kills: Workload = async (s) => {
  const restart = s.chance(0.5);
  const handle = s.act.createActor("Counter", [0, 0], { maxRestarts: restart ? 5 : 0 });
  const before = s.act.callActor(handle, "inc", [0]);
  if (s.chance(0.7)) {
    const value = await s.value("a call before the kill", before);
    if (value !== undefined) acknowledge(s, value);
  }
  const meanwhile = s.act.callActor(handle, "inc", [s.int(20)]);
  await s.act.killActor(handle, !restart);
  await s.value("a call during the kill", meanwhile, ["ACTOR_DIED", "ACTOR_UNAVAILABLE"]);
  // The kill is on the GCS's disk; the process may answer until its raylet has ended it, and no longer.
  for (;;) {
    const outcome = await s.outcome(s.act.callActor(handle, "inc", [0]));
    if (!outcome.ok) {
      s.mayFail("a call after the kill", outcome, restart ? ["ACTOR_UNAVAILABLE"] : ["ACTOR_DIED"]);
      if (outcome.code === "ACTOR_DIED") return;
    } else if (acknowledge(s, outcome.value).incarnation > 0) {
      if (!restart) throw new Violation("an actor that was killed for good was restarted");
      return;
    }
    await s.act.sleep(20);
  }
};

/** Actors whose own code ends or kills them. */
const endings: Workload = async (s) => {
  const boom = s.chance(0.5);
  const maxRestarts = s.pick(0, 3);
  const handle = s.act.createActor("Counter", [0, 0], { maxRestarts });
  await s.value("a call before the end", s.act.callActor(handle, "inc", [0]));
  const end = await s.outcome(s.act.callActor(handle, boom ? "boom" : "exit", []));
  if (boom && end.ok) throw new Violation("a call that killed its process was answered");
  if (!end.ok) s.mayFail("the call that ends the actor", end, boom ? ["ACTOR_DIED", "ACTOR_UNAVAILABLE"] : []);
  const after = await s.outcome(s.act.callActor(handle, "inc", [0]));
  if (after.ok && !boom && !s.deadly) throw new Violation("an actor answers after it exited");
  if (after.ok && boom && maxRestarts === 0) throw new Violation("an actor without restarts answers after it died");
  if (!after.ok) s.mayFail("a call after the end", after, boom && maxRestarts > 0 ? ["ACTOR_UNAVAILABLE"] : ["ACTOR_DIED"]);
};

/** Actors that keep references, and errors out of methods. */
const keeping: Workload = async (s) => {
  const handle = s.act.createActor("Counter", [0, 0], {});
  const given: SimRef[] = [];
  let expected = 0;
  for (let i = s.between(1, 3); i > 0; i--) {
    expected += i * 10;
    given.push(s.chance(0.5) ? await s.act.put(new Blob(i * 10, anySize(s))) : s.act.submit("blob", [i * 10, anySize(s), s.int(10)]));
  }
  const kept = s.act.callActor(handle, "keep", [given]);
  if (s.chance(0.5)) for (const ref of given) s.act.release(ref);
  await s.value("a call that keeps references", kept);
  const failed = await s.outcome(s.act.callActor(handle, "fail", []));
  if (failed.ok) throw new Violation("a method that throws succeeded");
  s.mayFail("a method that throws", failed, ["TASK_ERROR"]);
  await s.act.sleep(s.int(100));
  const value = await s.value("reading what was kept", s.act.callActor(handle, "readKept", []));
  if (value !== undefined) s.equal("what was kept", value, expected);
};

/** Cancels what waits and what runs. */
const cancels: Workload = async (s) => {
  const force = s.chance(0.3);
  const recursive = s.chance(0.5);
  const refs: SimRef[] = [];
  for (let i = s.between(1, 6); i > 0; i--) {
    refs.push(recursive ? s.act.submit("slowChildren", [2, 50], { maxRetries: 0 }) : s.act.submit("slow", [s.int(80)], { maxRetries: s.pick(0, 3) }));
  }
  await s.act.sleep(s.pick(0, 5, 60));
  const cancelled = refs.filter(() => s.chance(0.6));
  for (const ref of cancelled) s.act.cancel(ref, { force, recursive });
  for (const ref of refs)
    await s.value(
      "a task beside cancelled ones",
      ref,
      cancelled.includes(ref) ? ["TASK_CANCELLED", ...(force ? ["WORKER_CRASHED"] : [])] : force ? ["WORKER_CRASHED"] : [],
    );
};

/** Large objects, made on one node, read on others. */
const large: Workload = async (s) => {
  const size = largeSize(s);
  const put = await s.act.put(new Blob(7, size));
  const soft = (i: number): { node: { nodeId: string; soft: boolean } } => ({
    node: { nodeId: s.nodeIds[i % s.nodeIds.length] as string, soft: true },
  });
  const readers: SimRef[] = [];
  for (let i = 0; i < s.nodeIds.length; i++) readers.push(s.act.submit("next", [put, s.int(10)], { ...soft(i), maxRetries: 3 }));
  const chains: SimRef[] = [];
  for (const [i, reader] of readers.entries()) chains.push(s.act.submit("next", [reader, 0], { ...soft(i + 1), maxRetries: 3 }));
  const byValue = s.act.submit("next", [new Blob(40, size), 0]);
  for (const ref of readers) if (s.chance(0.5)) s.act.release(ref);
  for (const ref of chains) {
    const value = await s.value("a blob through two nodes", ref);
    if (value !== undefined) s.equal("a blob through two nodes", value, new Blob(9, size));
    if (s.chance(0.5)) s.act.release(ref);
  }
  const value = await s.value("a large argument", byValue);
  if (value !== undefined) s.equal("a large argument", value, new Blob(41, size));
  s.equal("what was put", (await s.value("what was put", put)) ?? new Blob(7, size), new Blob(7, size));
};

/** More than a small arena holds, read back here and there: what was spilled is restored, by many at once, and read by others from disk. */
const hoard: Workload = async (s) => {
  const size = s.pick(9_000, 30_000);
  const puts: SimRef[] = [];
  for (let i = s.between(4, 16); i > 0; i--) puts.push(await s.act.put(new Blob(puts.length, size)));
  await s.act.sleep(s.pick(0, 100, 1_000));
  const sums: { readonly ref: SimRef; readonly expected: number }[] = [];
  for (let i = s.between(1, 6); i > 0; i--) {
    const chosen = puts.map((_, at) => at).filter(() => s.chance(0.3));
    const some = chosen.slice(0, 5); // what one task needs fits into the smallest store
    const node = { nodeId: s.nodeIds[s.int(s.nodeIds.length)] as string, soft: true };
    const args = some.map((at) => puts[at] as SimRef);
    const ref = s.chance(0.5) ? s.act.submit("sum", [[], ...args], { node, maxRetries: 3 }) : s.act.submit("sum", [args], { node, maxRetries: 3 });
    sums.push({ ref, expected: some.reduce((sum, at) => sum + at, 0) });
  }
  for (let i = s.between(0, 8); i > 0; i--) {
    const at = s.int(puts.length);
    const value = await s.value("what was put long ago", puts[at] as SimRef);
    if (value !== undefined) s.equal("what was put long ago", value, new Blob(at, size));
  }
  for (const { ref, expected } of sums) {
    const value = await s.value("a sum over what was put", ref);
    if (value !== undefined) s.equal("a sum over what was put", value, expected);
  }
};

/** Objects that workers own, handed on and read elsewhere. */
const borrowed: Workload = async (s) => {
  const count = s.between(1, 4);
  const size = s.pick(0, 0, 300, 5000);
  const seed = s.int(100);
  let expected = 0;
  for (let i = 0; i < count; i++) expected += seed + i;
  const maker = s.act.submit(s.chance(0.4) ? "relay" : "made", [seed, count, size], { maxRetries: 3 });
  const made = await s.value("references out of a task", maker);
  if (made === undefined) return;
  s.act.release(maker);
  let list = (Array.isArray(made) ? made : (made as { passed: SimRef[] }).passed) as SimRef[];
  if (s.chance(0.5)) {
    const passed = await s.value("references through a task", s.act.submit("pass", [list, s.int(10)]));
    if (passed === undefined) return;
    for (const ref of list) s.act.release(ref);
    list = (passed as unknown as { passed: SimRef[] }).passed;
  }
  await s.act.sleep(s.pick(0, 20, 500, 3000));
  const late = s.act.submit("late", [list, s.pick(0, 50, 300)], { maxRetries: 3 });
  if (s.chance(0.5)) for (const ref of list) s.act.release(ref);
  else {
    for (const [i, ref] of list.entries()) {
      const value = await s.value("an object of a worker", ref);
      if (value !== undefined) s.equal("an object of a worker", value, size === 0 ? seed + i : new Blob(seed + i, size));
    }
  }
  const value = await s.value("objects of a worker, read late", late);
  if (value !== undefined) s.equal("objects of a worker, read late", value, expected);
};

/** Waits with and without deadlines, and gets that give up. */
const waits: Workload = async (s) => {
  const refs: SimRef[] = [];
  for (let i = s.between(1, 8); i > 0; i--) refs.push(s.act.submit("slow", [s.int(60)]));
  const wanted = s.between(1, refs.length);
  const ready = await s.act.wait(refs, wanted, s.pick(undefined, 0, 5, 40));
  for (const [i, ref] of refs.entries()) if (ready[i] === true) await s.value("what a wait said is ready", ref);
  const early = await s.outcome(refs[0] as SimRef, s.pick(0, 1, 30));
  if (!early.ok) s.mayFail("an impatient get", early, ["GET_TIMEOUT"]);
  const all = await s.act.wait(refs, refs.length);
  s.equal("a wait for all", all.every(Boolean), true);
  for (const ref of refs) await s.value("after the wait", ref);
};

/** Tasks whose process dies, or that throw. */
const failing: Workload = async (s) => {
  const until = s.int(3);
  const maxRetries = s.int(4);
  const crash = s.act.submit("kamikaze", [until, s.int(10)], { maxRetries });
  const boundless = s.act.submit("kamikaze", [2, s.int(10)], { maxRetries: -1 });
  const error = s.act.submit("fail", ["on purpose", s.int(10)]);
  const dependent = s.act.submit("add", [error, 1, 0]);
  const flaky = s.act.submit("flaky", [until, s.int(5)], { maxRetries, retryExceptions: true });
  const limited: SimRef[] = [];
  for (let i = 0; i < 6; i++) limited.push(s.act.submit("add", [i, i, s.int(3)], { maxCalls: 2, maxRetries: 0 }));
  const crashed = await s.outcome(crash);
  if (crashed.ok && maxRetries < until) throw new Violation(`a task that crashes ${until} times succeeded with ${maxRetries} retries`);
  if (!crashed.ok) s.mayFail("a task that crashes", crashed, ["WORKER_CRASHED"]); // other crashes may cost it retries: see below
  await s.value("a task that crashes twice, with endless retries", boundless, [], true);
  for (const ref of [error, dependent]) {
    const outcome: Outcome = await s.outcome(ref);
    if (outcome.ok) throw new Violation("a task that throws succeeded");
    s.mayFail("a task that throws", outcome, ["TASK_ERROR"]);
  }
  const tried = await s.outcome(flaky);
  if (tried.ok && maxRetries < until) throw new Violation("a flaky task succeeded too early");
  // It may have waited on the worker of a task that crashed: whether it had begun, its owner cannot know.
  if (!tried.ok) s.mayFail("a flaky task", tried, ["TASK_ERROR", "WORKER_CRASHED"]);
  for (const [i, ref] of limited.entries()) {
    const value = await s.value("a task of a function with maxCalls", ref);
    if (value !== undefined) s.equal("a task of a function with maxCalls", value, i * 2);
  }
};

/** Handles of actors handed about while the creator lets go. */
const handles: Workload = async (s) => {
  const handle: SimHandle = s.act.createActor("Counter", [0, 0], { maxRestarts: 1, resources: s.pick<Record<string, number>>({}, { CPU: 0.1 }) });
  const callers: SimRef[] = [];
  for (let i = s.between(1, 3); i > 0; i--) callers.push(s.act.submit("caller", [handle, s.between(1, 4)]));
  const own = s.chance(0.5) ? s.act.callActor(handle, "inc", [s.int(10)]) : undefined;
  s.act.release(handle); // queued calls and handles elsewhere keep it alive
  for (const caller of callers) {
    const value = await s.value("a task with the last handle", caller);
    for (const one of (value ?? []) as readonly SimValue[]) {
      const { failed, message } = one as { failed?: string; message?: string };
      if (failed !== undefined) s.mayFail("a call with the last handle", { code: failed, message: message ?? "" });
    }
  }
  if (own !== undefined) await s.value("a call whose handle was released", own);
};

/** Large results of actors, some of which die right after they made them. */
const products: Workload = async (s) => {
  const retried = s.chance(0.5);
  const handle = s.act.createActor("Counter", [0, 0], { maxRestarts: retried ? -1 : 0, maxTaskRetries: retried ? -1 : 0, spread: s.chance(0.5) });
  const size = largeSize(s);
  const results: SimRef[] = [];
  for (let i = s.between(1, 5); i > 0; i--) results.push(s.act.callActor(handle, "blob", [i, size, s.pick(0, 5)]));
  const kills = s.chance(0.3);
  if (kills) await s.act.killActor(handle, !retried);
  const sum = s.act.submit("sum", [results], { maxRetries: 3 });
  const dead = kills ? ["ACTOR_DIED", "ACTOR_UNAVAILABLE", "OBJECT_RECONSTRUCTION_FAILED"] : [];
  let expected: number | undefined = 0;
  for (const [k, ref] of results.entries()) {
    const seed = results.length - k;
    const value = await s.value("a large result of an actor", ref, dead);
    if (value !== undefined) s.equal("a large result of an actor", value, new Blob(seed, size));
    if (value === undefined) expected = undefined;
    else if (expected !== undefined) expected += seed;
    if (s.chance(0.5)) s.act.release(ref);
  }
  const added = await s.value("a sum of results of an actor", sum, dead);
  if (added !== undefined && expected !== undefined) s.equal("a sum of results of an actor", added, expected);
};

/** Items of generators: in order, each once, whatever dies; streams that are left early, cancelled, or end with an error. */
const streams: Workload = async (s) => {
  const count = s.between(0, 30);
  const size = s.pick(0, 300, 2_000, 9_000);
  const backpressure = s.pick(1, 2, 5, 100, 0);
  const maxRetries = s.pick(3, -1);
  const throwAt = s.chance(0.2) ? s.between(1, count + 1) : 0;
  const how = { throwAt, ...(s.deadly && s.chance(0.2) ? { until: s.between(1, 2), dieAt: s.between(1, count + 1) } : {}) };
  const stream = s.act.stream("items", [count, size, s.pick(0, 0, 5, 20), how], { backpressure, maxRetries });
  const thrown = throwAt > 0 && throwAt <= count;
  const leaveAfter = s.chance(0.25) ? s.int(count + 1) : -1;
  const cancelAfter = leaveAfter < 0 && s.chance(0.15) ? s.int(count + 1) : -1;
  const sure = maxRetries === -1 && cancelAfter < 0;
  const late: { i: number; ref: SimRef }[] = [];
  const readers: { i: number; ref: SimRef }[] = [];
  let i = 0;
  for (;;) {
    if (i === leaveAfter) break;
    if (i === cancelAfter) s.act.cancel(stream);
    const ref = await s.act.next(stream);
    if (ref === undefined) break;
    i++;
    if (s.chance(0.2)) await s.act.sleep(s.int(40));
    if (i > (thrown ? throwAt : count)) {
      // Only an error follows the last item.
      const end = await s.outcome(ref);
      if (end.ok) throw new Violation(`item ${i} of a stream of ${count} is ${JSON.stringify(end.value)}`);
      s.mayFail(
        "the end of a stream",
        end,
        ["TASK_ERROR", ...(cancelAfter >= 0 ? ["TASK_CANCELLED"] : []), ...(how.until === undefined ? [] : ["WORKER_CRASHED"])],
        sure,
      );
      s.equal("what follows the end of a stream", await s.act.next(stream), undefined);
      return;
    }
    const use = s.int(3);
    if (use === 0) late.push({ i, ref });
    else if (use === 1) readers.push({ i, ref: s.act.submit("sum", [[], ref], { maxRetries: -1 }) });
    else {
      const outcome = await s.outcome(ref);
      if (outcome.ok) s.equal(`item ${i}`, outcome.value, itemOf(i, size));
      else {
        s.mayFail(
          `item ${i} of ${count}`,
          outcome,
          [...(cancelAfter >= 0 ? ["TASK_CANCELLED"] : []), ...(how.until === undefined ? [] : ["WORKER_CRASHED"])],
          sure,
        );
        if (outcome.code !== "OBJECT_RECONSTRUCTION_FAILED") {
          s.equal("what follows the error of a stream", await s.act.next(stream), undefined);
          break;
        }
      }
    }
    if (use !== 0 || s.chance(0.2)) s.act.release(ref);
  }
  if (leaveAfter < 0 && cancelAfter < 0 && sure && i !== count) throw new Violation(`a stream of ${count} items ended after ${i}`);
  s.act.release(stream);
  await s.act.sleep(s.pick(0, 20, 500));
  for (const { i: at, ref } of late) {
    if (ref.released) continue;
    const value = await s.value(`item ${at} of ${count}, read late`, ref, ["TASK_CANCELLED", "WORKER_CRASHED"], false);
    if (value !== undefined) s.equal(`item ${at}, read late`, value, itemOf(at, size));
  }
  for (const { i: at, ref } of readers) {
    const value = await s.value(`item ${at} of ${count}, read by a task`, ref, ["TASK_CANCELLED", "WORKER_CRASHED"], false);
    if (value !== undefined) s.equal(`item ${at}, read by a task`, value, at);
  }
};

/** Streams of streams, of references, of actors. */
const moreStreams: Workload = async (s) => {
  const count = s.between(1, 12);
  const size = s.pick(0, 300, 2_000);
  const backpressure = s.pick(1, 3, 100);
  const kind = s.pick("relay", "put", "actor");
  const handle = kind === "actor" ? s.act.createActor("Counter", [0, 0], { maxRestarts: s.pick(0, -1), maxTaskRetries: s.pick(0, -1) }) : undefined;
  const stream =
    handle !== undefined
      ? s.act.callStream(handle, "items", [count, size, s.pick(0, 10)], backpressure)
      : s.act.stream(kind === "relay" ? "relayItems" : "putItems", [count, size, backpressure], { backpressure, maxRetries: 3 });
  const leaveAfter = s.chance(0.3) ? s.int(count) : -1;
  let i = 0;
  for (; i !== leaveAfter; ) {
    const ref = await s.act.next(stream);
    if (ref === undefined) break;
    i++;
    const value = await s.value(`item ${i} of ${count} (${kind})`, ref);
    s.act.release(ref);
    if (value === undefined) {
      s.act.release(stream);
      return;
    }
    if (kind !== "put") s.equal(`item ${i} (${kind})`, value, itemOf(i, size));
    else {
      const [inner] = value as unknown as [SimRef];
      const read = await s.value(`what item ${i} refers to`, inner);
      if (read !== undefined) s.equal(`what item ${i} refers to`, read, itemOf(i, size));
      s.act.release(inner);
    }
  }
  if (leaveAfter < 0) s.equal(`the length of a stream (${kind})`, i, count);
  s.act.release(stream);
};

export const workloads: Readonly<Record<string, Workload>> = {
  plain,
  nested,
  fanIn,
  counter,
  named,
  kills,
  endings,
  keeping,
  cancels,
  large,
  hoard,
  borrowed,
  waits,
  failing,
  handles,
  products,
  streams,
  moreStreams,
};
