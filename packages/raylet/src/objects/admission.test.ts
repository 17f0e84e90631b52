import { setMaxListeners } from "node:events";
import { TrayError } from "@tray/common";
import fc from "fast-check";
import { Admission, type Bundle, type Purpose, purposes } from "./admission.js";

const forever = new AbortController().signal;
setMaxListeners(0, forever);

/** Requests that each lack some bytes until they are done. */
function world(
  room: number,
  waitingMax = 100,
): {
  admission: Admission;
  ask: (name: string, purpose: Purpose, bytes: number, signal?: AbortSignal) => void;
  done: (name: string) => void;
  began: string[];
  failed: unknown[];
  gaveUp: string[];
} {
  const admission = new Admission(() => room, waitingMax);
  const requests = new Map<string, Bundle>();
  const began: string[] = [];
  const failed: unknown[] = [];
  const gaveUp: string[] = [];
  return {
    gaveUp,
    admission,
    began,
    failed,
    ask: (name, purpose, bytes, signal = forever) => {
      const bundle: Bundle = { sinceMs: 0, purpose, lacking: () => bytes, giveUp: (alone) => gaveUp.push(alone ? `${name} alone` : name) };
      requests.set(name, bundle);
      admission.enter(bundle, signal).then(
        () => began.push(name),
        (error: unknown) => failed.push(error),
      );
    },
    done: (name) => admission.leave(requests.get(name) as Bundle),
  };
}
const turn = (): Promise<void> => new Promise(setImmediate);

describe("Admission", () => {
  it("admits what fits, gets before waits before arguments, and nobody overtakes one that does not fit", async () => {
    const { ask, done, began } = world(10);
    ask("first", "argument", 8);
    ask("large argument", "argument", 9);
    ask("small argument", "argument", 1);
    ask("wait", "wait", 3);
    ask("get", "get", 3);
    await turn();
    expect(began).toEqual(["first"]);
    done("first");
    await turn();
    expect(began).toEqual(["first", "get", "wait"]);
    done("get");
    await turn();
    expect(began).toHaveLength(3); // 3 + 9 do not fit, and the small one is behind it
    done("wait");
    await turn();
    expect(began.slice(3)).toEqual(["large argument", "small argument"]);
  });

  it("does not admit what does not fit, and refuses it when told to", async () => {
    const { ask, began, failed, admission } = world(4);
    ask("a", "get", 5);
    ask("b", "argument", 1);
    await turn();
    expect(began).toEqual([]);
    expect(admission.isStuck).toBe(true);
    admission.refuseAll((bundle) => new TrayError("OBJECT_STORE_FULL", `${bundle.lacking()}`));
    await turn();
    expect(failed).toMatchObject([{ message: "5" }, { message: "1" }]);
    expect(admission.isStuck).toBe(false);
  });

  it("lets the first that fits pass when nobody has a turn, and lets those be that only wait for bytes under way", async () => {
    const { ask, began, gaveUp, admission } = world(4);
    ask("large", "get", 5);
    ask("fits", "argument", 4);
    ask("too", "argument", 1);
    await turn();
    expect(began).toEqual([]);
    admission.favourOne(false);
    await turn();
    expect(began).toEqual(["fits"]);
    admission.favourOne(true);
    expect(gaveUp).toEqual([]);
    expect(admission.waitingCount).toBe(2);
  });

  it("favours the first of several: the others give up, and have their turns again when it is done", async () => {
    const { ask, done, began, gaveUp, admission } = world(10);
    ask("a", "argument", 1);
    await turn();
    admission.favourOne(false);
    expect(gaveUp.splice(0)).toEqual(["a alone"]);
    ask("b", "get", 1);
    await turn();
    admission.favourOne(false);
    expect(gaveUp).toEqual(["b"]);
    done("b");
    ask("b", "get", 1);
    ask("c", "get", 1);
    await turn();
    expect(began).toEqual(["a", "b"]);
    done("a");
    await turn();
    expect(began).toEqual(["a", "b", "b", "c"]);
  });

  it("one that gave up leaves no place behind, nor do too many come in", async () => {
    const { ask, began, failed, admission } = world(10, 2);
    const impatient = new AbortController();
    ask("a", "get", 10);
    ask("b", "get", 10, impatient.signal);
    ask("c", "argument", 0);
    await turn();
    ask("d", "get", 1);
    await turn();
    expect(failed).toMatchObject([{ code: "RESOURCE_EXHAUSTED" }]);
    expect(admission.waitingCount).toBe(2);
    impatient.abort(new Error("gave up"));
    await turn();
    expect(began).toEqual(["a", "c"]);
    expect(failed).toMatchObject([{ code: "RESOURCE_EXHAUSTED" }, { message: "gave up" }]);
    expect(admission.waitingCount).toBe(0);
  });

  it("A1, A2 and that all have their turn, in any order of events", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ bytes: fc.nat({ max: 10 }), purpose: fc.constantFrom(...purposes), endsAfter: fc.nat({ max: 5 }) }), { maxLength: 30 }),
        async (requests) => {
          const room = 10;
          const { ask, done, began, admission } = world(room);
          const bytesOf = (name: string): number => requests[Number(name)]?.bytes as number;
          const active = new Set<string>();
          const step = async (): Promise<void> => {
            await turn();
            for (const name of began) if (!ended.has(name)) active.add(name);
            const sum = [...active].reduce((total, name) => total + bytesOf(name), 0);
            expect(sum).toBeLessThanOrEqual(room); // A1
          };
          const ended = new Set<string>();
          const finish = async (): Promise<void> => {
            const [oldest] = active;
            if (oldest === undefined) return;
            active.delete(oldest);
            ended.add(oldest);
            done(oldest);
            await step();
          };
          for (const [i, { bytes, purpose, endsAfter }] of requests.entries()) {
            ask(`${i}`, purpose, bytes);
            await step();
            for (let end = 0; end < endsAfter - 3; end++) await finish();
          }
          while (active.size > 0) await finish();
          expect(began).toHaveLength(requests.length);
          expect(admission.waitingCount).toBe(0);
          for (const purpose of purposes) {
            const order = began.filter((name) => requests[Number(name)]?.purpose === purpose).map(Number);
            expect(order).toEqual([...order].sort((a, b) => a - b)); // by arrival
          }
        },
      ),
      { numRuns: 50 },
    );
  });
});
