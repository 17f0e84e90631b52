import type { ObjectReferences, ProcessReferences, StoredObject } from "@tray/protocol";
import { Gathered, waitingLines } from "./memory.js";

const references = (known: Partial<ObjectReferences>): ObjectReferences => ({
  objectId: "o",
  ownerId: "w1",
  state: "stored",
  size: 100,
  local: 0,
  pendingTasks: 0,
  captured: 0,
  borrowers: 0,
  lineage: 0,
  actorHandle: false,
  ageMs: 1000,
  task: "f",
  ...known,
});
const process = (workerId: string, pid: number, ...known: ObjectReferences[]): ProcessReferences => ({
  workerId,
  pid,
  kind: "worker",
  references: known,
  total: known.length,
  error: "",
});
const stored = (object: Partial<StoredObject>): StoredObject => ({
  objectId: "o",
  ownerId: "w1",
  size: 100,
  state: "sealed",
  copy: "primary",
  pins: 0,
  ageMs: 500,
  ...object,
});

describe("what nodes and processes say of an object", () => {
  it("is put together in whatever order it comes: the owner's word on the state, each holder for itself", () => {
    const said: ((gathered: Gathered) => void)[] = [
      (g) => g.process("n1", process("w1", 1, references({ local: 2, captured: 1, borrowers: 1 }))),
      (g) => g.process("n2", process("w2", 2, references({ state: "pending", size: 0, local: 1, task: "" }))),
      (g) => g.stored("n2", stored({ pins: 3 })),
      (g) => g.stored("n1", stored({ copy: "secondary" })),
    ];
    for (const order of [said, [...said].reverse()]) {
      const gathered = new Gathered();
      for (const say of order) say(gathered);
      const [object, ...others] = gathered.all();
      expect(others).toEqual([]);
      expect(object).toMatchObject({ objectId: "o", sizeBytes: 100, ownerId: "w1", ownerPid: 1, state: "stored", ageMs: 1000, task: "f" });
      expect([...(object?.nodeIds ?? [])].sort()).toEqual(["n1", "n2"]);
      expect(new Set(object?.references)).toEqual(
        new Set([
          { kind: "local", count: 2, nodeId: "n1", workerId: "w1", pid: 1 },
          { kind: "captured", count: 1, nodeId: "n1", workerId: "w1", pid: 1 },
          { kind: "borrowed", count: 1, nodeId: "n2", workerId: "w2", pid: 2 },
          { kind: "pinned", count: 3, nodeId: "n2", workerId: "", pid: 0 },
        ]),
      );
    }
  });

  it("is spilled when no node has it in memory, and told to be borrowed by those who do not answer", () => {
    const gathered = new Gathered();
    gathered.stored("n1", stored({ state: "spilled" }));
    gathered.process("n1", process("w1", 1, references({ local: 1, borrowers: 2 })));
    gathered.process("n1", process("w2", 2, references({ local: 1 })));
    const [object] = gathered.all();
    expect(object?.state).toBe("spilled");
    expect(object?.references).toContainEqual({ kind: "borrowed", count: 1, nodeId: "", workerId: "", pid: 0 });
    const both = new Gathered();
    both.process("n1", process("w1", 1, references({})));
    both.stored("n1", stored({ state: "spilled" }));
    both.stored("n2", stored({}));
    expect(both.all()).toMatchObject([{ state: "stored" }]);
  });

  it("a block that no process knows is an orphan; a process that does not answer is named", () => {
    const gathered = new Gathered();
    gathered.stored("n1", stored({ objectId: "lost", ownerId: "dead" }));
    gathered.process("n1", { ...process("w9", 9), error: "no answer within 2 s" });
    expect(gathered.all()).toMatchObject([{ objectId: "lost", state: "orphaned", ownerPid: null, references: [] }]);
    expect(gathered.unreachable).toEqual(["worker 9 on node n1: no answer within 2 s"]);
  });
});

it("says of each node what waits for room there, and for how long", () => {
  const node = { nodeId: "n", nodeName: "a", capacityBytes: 100, usedBytes: 100, spilledBytes: 0, waiting: null };
  expect(waitingLines({ nodes: [node, { ...node, nodeName: "b", waiting: { count: 3, bytes: 96 * 2 ** 20, oldestMs: 2_100 } }] })).toEqual([
    "b: 3 (96.0 MiB) waiting for room in the object store, the first for 2.1s",
  ]);
});
