// Several nodes' object services on one simulated network: what single cores cannot show.
import { Metrics, SeededRandom, SimClock, silentLogger } from "@tray/common";
import { defaultSystemConfig } from "@tray/config";
import { MemoryArena, MemoryBulkNetwork, MemorySpillStore } from "@tray/object-store";
import type { GetObjectReply, NodeAddress } from "@tray/protocol";
import { storeFullMs } from "../limits.js";
import type { RayletEnvironment } from "../node.js";
import type { Purpose } from "./admission.js";
import { ObjectService } from "./service.js";

const MiB = 2 ** 20;
const idOf = (i: number): string => i.toString(16).padStart(40, "0");
const owner = { workerId: "o".repeat(32), nodeId: "n", endpoint: "o:1" };
const forever = (): AbortSignal => new AbortController().signal;

class World {
  readonly clock = new SimClock();
  readonly random: SeededRandom;
  readonly nodes: Node[] = [];
  /** From → to of every chunk under way may be broken here. */
  fault: (from: string, to: string) => Error | undefined = () => undefined;
  msPerMiB = 1;
  readonly network = new MemoryBulkNetwork({
    clock: this.clock,
    chunkBytes: MiB / 4,
    fault: (from, to) => this.fault(from, to),
    durationMs: (_from, _to, bytes) => (bytes === 0 ? 0.1 : (bytes / MiB) * this.msPerMiB),
  });
  constructor(seed = 1) {
    this.random = new SeededRandom(seed);
  }
  node(arenaBytes = 8 * MiB, fanout = 2): Node {
    const node = new Node(this, `n${this.nodes.length}`, arenaBytes, fanout);
    this.nodes.push(node);
    return node;
  }
}

class Node {
  readonly objects: ObjectService;
  readonly arena: MemoryArena;
  readonly spill: MemorySpillStore;
  readonly address: NodeAddress;
  /** Sends under way from here, and the most there ever were. */
  sends = 0;
  sendsMax = 0;
  served = 0;
  /** Readers are asked to collect their garbage. */
  collect: (clients: readonly string[]) => void = () => undefined;
  private pins = 0;
  private readonly stop: () => void;

  constructor(
    readonly world: World,
    readonly name: string,
    arenaBytes: number,
    fanout: number,
  ) {
    const { clock, random } = world;
    const nodeId = random.hex(16);
    this.address = { nodeId, raylet: `${name}:1`, bulk: `${name}:2` };
    this.arena = new MemoryArena(arenaBytes);
    this.spill = new MemorySpillStore({ clock });
    const config = { ...defaultSystemConfig, objectBroadcastFanout: fanout };
    const env = {
      clock,
      random: random.fork(),
      logger: silentLogger,
      metrics: new Metrics(),
      config,
      node: { nodeId },
    } as unknown as RayletEnvironment;
    const nodes = {
      isDead: () => false,
      bulkAddress: (id: string) => world.nodes.find(({ address }) => address.nodeId === id)?.address.bulk,
    };
    this.objects = new ObjectService(env, this.arena, world.network.client(`${name}:2`), this.spill, (clients) => this.collect(clients), nodes);
    this.stop = world.network.serve(`${name}:2`, {
      open: (request) => {
        const opened = this.objects.open(request);
        if (opened === undefined || "elsewhere" in opened) return opened;
        this.served++;
        this.sendsMax = Math.max(this.sendsMax, ++this.sends);
        return {
          ...opened,
          close: (complete) => {
            this.sends--;
            opened.close(complete);
          },
        };
      },
    });
  }

  async put(i: number, size: number, client = "writer"): Promise<void> {
    const { offset } = await this.world.clock.complete(this.objects.create(idOf(i), size, owner, client, forever()), 600_000);
    this.arena.write(offset, size).fill(i + 1);
    this.objects.seal(idOf(i), client, false);
  }
  get(
    wanted: readonly { readonly i: number; readonly size: number; readonly at: readonly Node[] }[],
    client = "reader",
    purpose: Purpose = "get",
    signal = forever(),
  ): Promise<GetObjectReply[]> {
    const objects = wanted.map(({ i, size, at }) => ({
      objectId: idOf(i),
      locations: { size, nodes: at.map(({ address }) => address) },
      owner,
      pin: ++this.pins,
    }));
    return this.objects.get(objects, purpose, client, signal);
  }
  isIntact(i: number, { found, offset, size }: GetObjectReply): boolean {
    return found && Buffer.alloc(size, i + 1).equals(this.arena.write(offset, size));
  }
  letGo(i: number, { offset }: GetObjectReply, client = "reader"): void {
    this.objects.release([idOf(i)], [offset], [], client);
  }
  crash(): void {
    this.stop();
  }
}

describe("a broadcast", () => {
  async function broadcast(fanout: number) {
    const world = new World();
    const source = world.node(8 * MiB, fanout);
    const others = Array.from({ length: 12 }, () => world.node(8 * MiB, fanout));
    await source.put(1, 4 * MiB);
    const startMs = world.clock.now();
    const replies = await world.clock.complete(Promise.all(others.map((node) => node.get([{ i: 1, size: 4 * MiB, at: [source] }]))));
    expect(replies.every(([reply], n) => (others[n] as Node).isIntact(1, reply as GetObjectReply))).toBe(true);
    for (const [n, node] of others.entries()) {
      node.letGo(1, (replies[n] as GetObjectReply[])[0] as GetObjectReply);
      node.objects.delete([idOf(1)]);
      node.objects.check();
      expect(node.objects.usedBytes).toBe(0);
    }
    return { source, others, tookMs: world.clock.now() - startMs };
  }

  it("goes by a tree: no node sends to more than a few, and what arrives is passed on as it comes", async () => {
    const { source, others, tookMs } = await broadcast(2);
    expect([source, ...others].map(({ sendsMax }) => sendsMax).every((most) => most <= 2)).toBe(true);
    expect(source.served).toBe(2);
    expect(tookMs).toBeLessThan(2 * 4); // 4 ms a transfer: four levels one after the other would take 16
  });
  it("goes from the source to all when told to", async () => {
    const { source } = await broadcast(0);
    expect(source.served).toBe(12);
  });

  it("goes on when nodes on the way die, and brings everyone else the right bytes", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const world = new World(seed);
      const source = world.node();
      const others = Array.from({ length: 10 }, () => world.node());
      await source.put(1, 4 * MiB);
      const dead = new Set<string>();
      world.fault = (from, to) => (dead.has(from) || dead.has(to) ? new Error("connection reset") : undefined);
      const aborter = new Map(others.map((node) => [node, new AbortController()]));
      const replies = others.map((node) =>
        node.get([{ i: 1, size: 4 * MiB, at: [source] }], "reader", "get", aborter.get(node)?.signal).catch(() => undefined),
      );
      for (let kill = 0; kill < 4; kill++) {
        await world.clock.advance(world.random.next() * 2);
        const victim = others[Math.floor(world.random.next() * others.length)] as Node;
        if (kill % 2 === 0) {
          victim.crash();
          dead.add(`${victim.name}:2`);
        }
        aborter.get(victim)?.abort(new Error("its reader left")); // H5: others may be reading what has arrived there
        // What is written to memory that was given back too early would be seen by those who read it.
        if (kill % 2 === 1) void victim.put(9, 7 * MiB, "other").catch(() => undefined);
      }
      const all = await world.clock.complete(Promise.all(replies), 120_000);
      for (const [n, reply] of all.entries()) {
        const node = others[n] as Node;
        if (reply !== undefined && !dead.has(`${node.name}:2`))
          expect([seed, n, node.isIntact(1, reply[0] as GetObjectReply)]).toEqual([seed, n, true]);
        node.objects.check();
      }
    }
  });

  it("is not waited for by a node whose reader has left, though the one that passes it on has nothing yet", async () => {
    const world = new World();
    const [source, on, last] = [world.node(8 * MiB, 1), world.node(), world.node()];
    await source.put(1, 4 * MiB);
    world.msPerMiB = 10_000;
    const passing = on.get([{ i: 1, size: 4 * MiB, at: [source] }]);
    const leaving = new AbortController();
    const left = expect(last.get([{ i: 1, size: 4 * MiB, at: [source] }], "reader", "get", leaving.signal)).rejects.toThrow("left");
    await world.clock.advance(1_000);
    expect([source.served, on.served]).toEqual([1, 1]);
    leaving.abort(new Error("left"));
    await left;
    await world.clock.advance(1);
    expect([on.sends, last.objects.usedBytes]).toEqual([0, 0]);
    const [reply] = await world.clock.complete(passing, 60_000);
    expect(on.isIntact(1, reply as GetObjectReply)).toBe(true);
    on.letGo(1, reply as GetObjectReply);
    expect(on.objects.usage().pinnedBytes).toBe(0);
  });

  it("is never waited for by two nodes at each other, though each had the object once and has lost it", async () => {
    const world = new World();
    const [source, b, c, other] = [world.node(8 * MiB, 1), world.node(), world.node(), world.node()];
    await source.put(1, 4 * MiB);
    for (const node of [b, c]) {
      const [reply] = await world.clock.complete(node.get([{ i: 1, size: 4 * MiB, at: [source] }]));
      node.letGo(1, reply as GetObjectReply);
      await node.put(2, 6 * MiB, "other"); // its copy leaves
      node.objects.delete([idOf(2)]);
      expect(node.objects.has(idOf(1))).toBe(false);
    }
    const readers = [other, b, c];
    const all = readers.map((node) => node.get([{ i: 1, size: 4 * MiB, at: [source] }]));
    const replies = await world.clock.complete(Promise.all(all), 60_000);
    expect(readers.every((node, n) => node.isIntact(1, (replies[n] as GetObjectReply[])[0] as GetObjectReply))).toBe(true);
  });

  it("from several copies: each sends a part", async () => {
    const world = new World();
    const sources = [world.node(64 * MiB), world.node(64 * MiB), world.node(64 * MiB)];
    for (const source of sources) await source.put(1, 48 * MiB);
    const reader = world.node(64 * MiB);
    const [reply] = await world.clock.complete(reader.get([{ i: 1, size: 48 * MiB, at: sources }]));
    expect(reader.isIntact(1, reply as GetObjectReply)).toBe(true);
    expect(sources.every(({ served }) => served >= 2)).toBe(true);
  });
});

describe("objects that are needed together", () => {
  const size = 3 * MiB;
  async function twoPairs() {
    const world = new World();
    const [a, b] = [world.node(16 * MiB), world.node(8 * MiB)];
    for (let i = 1; i <= 4; i++) await a.put(i, size);
    const pair = (i: number) => [i, i + 1].map((n) => ({ i: n, size, at: [a] }));
    return { world, a, b, pair };
  }

  it("two tasks whose arguments do not fit together have their turns, instead of holding half each for ever", async () => {
    const { world, b, pair } = await twoPairs();
    const ran: number[] = [];
    const run = async (first: number): Promise<void> => {
      const replies = await b.get(pair(first), `task${first}`, "argument");
      expect(replies.every((reply, n) => b.isIntact(first + n, reply))).toBe(true);
      await new Promise<void>((resolve) => world.clock.after(5, resolve));
      ran.push(first);
      replies.forEach((reply, n) => b.letGo(first + n, reply, `task${first}`));
    };
    await world.clock.complete(Promise.all([run(1), run(3)]), 10_000);
    expect(ran).toEqual([1, 3]);
    b.objects.check();
  });

  it("what is here counts, too: two tasks whose first arguments are here have their turns at once", async () => {
    const { world, b, pair } = await twoPairs();
    for (const i of [1, 3]) await b.put(i, size);
    const run = async (first: number): Promise<void> => {
      const replies = await b.get(pair(first), `task${first}`, "argument");
      expect(replies.every((reply, n) => b.isIntact(first + n, reply))).toBe(true);
      replies.forEach((reply, n) => b.letGo(first + n, reply, `task${first}`));
    };
    await world.clock.complete(Promise.all([run(1), run(3)]), 100);
    b.objects.check();
  });

  it("a task whose room is held by what another one has read: that one is asked to collect its garbage, at once", async () => {
    const { world, b, pair } = await twoPairs();
    const [first, second] = [b.get(pair(1), "task1", "argument"), b.get(pair(3), "task3", "argument")];
    const read = await world.clock.complete(first, 1_000);
    const asked: string[] = [];
    b.collect = (clients) => {
      asked.push(...clients);
      read.splice(0).forEach((reply, n) => b.letGo(1 + n, reply, "task1"));
    };
    const startMs = world.clock.now();
    const replies = await world.clock.complete(second, 1_000);
    expect(replies.every((reply, n) => b.isIntact(3 + n, reply))).toBe(true);
    expect(asked).toEqual(["task1"]);
    expect(world.clock.now() - startMs).toBeLessThan(100);
  });

  it("what a program waits for goes before what later tasks will need", async () => {
    const { world, b, pair } = await twoPairs();
    const order: string[] = [];
    const [first] = await world.clock.complete(b.get([{ i: 1, size, at: pair(1)[0]?.at ?? [] }], "running"), 1_000);
    const argument = b.get(pair(3), "later", "argument").then(() => order.push("argument"));
    const got = b.get([{ i: 2, size, at: pair(1)[0]?.at ?? [] }], "program", "get").then(([reply]) => {
      order.push("get");
      return reply as GetObjectReply;
    });
    const second = await world.clock.complete(got, 1_000);
    b.letGo(1, first as GetObjectReply, "running");
    b.letGo(2, second, "program");
    await world.clock.complete(argument, 1_000);
    expect(order).toEqual(["get", "argument"]);
  });

  it("more than the store holds is refused at once, and leaves nothing pinned", async () => {
    const { world, a, b } = await twoPairs();
    const all = [1, 2, 3, 4].map((i) => ({ i, size, at: [a] }));
    await expect(world.clock.complete(b.get(all, "task", "argument"))).rejects.toMatchObject({
      code: "OBJECT_STORE_FULL",
      message: expect.stringContaining("4 objects"),
    });
    expect(b.objects.usage().pinnedBytes).toBe(0);
  });

  it("one that is asked for twice counts once", async () => {
    const { world, a, b } = await twoPairs();
    await a.put(5, 5 * MiB);
    const twice = { i: 5, size: 5 * MiB, at: [a] };
    const replies = await world.clock.complete(b.get([twice, twice], "task", "argument"), 1_000);
    for (const reply of replies) {
      expect(b.isIntact(5, reply)).toBe(true);
      b.letGo(5, reply, "task");
    }
    expect(b.objects.usage().pinnedBytes).toBe(0);
  });

  it("B3: a repeated request pins none again, though one of the objects is missing", async () => {
    const { world, a, b } = await twoPairs();
    const objects = [1, 7].map((i) => ({ objectId: idOf(i), locations: { size, nodes: [a.address] }, owner, pin: i }));
    const ask = () => world.clock.complete(b.objects.get(objects, "argument", "task", forever()));
    const [first] = await ask();
    expect((await ask())[0]).toEqual(first);
    b.objects.release([idOf(1)], [first?.offset ?? -1], [1], "task");
    expect(b.objects.usage().pinnedBytes).toBe(0);
  });

  it.each(["", ", nor does a disk that failed before matter when there is nothing to spill"])(
    "one that fits passes those that do not, when nothing else moves: they may wait for what it holds%s",
    async (failed) => {
      const { world, a, b } = await twoPairs();
      if (failed !== "") {
        const disk = jest.spyOn(b.spill, "write").mockRejectedValue(new Error("EIO"));
        await b.put(9, 7 * MiB);
        await world.clock.advance(10);
        expect(disk).toHaveBeenCalled();
        b.objects.delete([idOf(9)]);
      }
      const at = [a];
      const [held] = await world.clock.complete(b.get([{ i: 1, size, at }], "task"), 1_000);
      const large = b.get(
        [2, 3].map((i) => ({ i, size, at })),
        "other",
      );
      const nested = await world.clock.complete(b.get([{ i: 4, size, at }], "task"), 5_000);
      b.letGo(4, nested[0] as GetObjectReply, "task");
      b.letGo(1, held as GetObjectReply, "task");
      expect((await world.clock.complete(large, 5_000)).every(({ found }) => found)).toBe(true);
    },
  );

  it("one that is nowhere leaves the others pinned, and is named", async () => {
    const { world, a, b } = await twoPairs();
    const replies = await world.clock.complete(
      b.get(
        [
          { i: 1, size, at: [a] },
          { i: 7, size, at: [a] },
        ],
        "task",
        "argument",
      ),
    );
    expect(replies).toMatchObject([{ found: true }, { found: false, missingNodeIds: [a.address.nodeId] }]);
  });

  it("given up in the middle, nothing stays pinned and the next has its turn", async () => {
    const { world, b, pair } = await twoPairs();
    const leaving = new AbortController();
    const left = b.get(pair(1), "leaves", "argument", leaving.signal);
    const gone = expect(left).rejects.toThrow("left");
    const next = b.get(pair(3), "next", "argument");
    await world.clock.advance(1.2);
    leaving.abort(new Error("left"));
    await gone;
    const replies = await world.clock.complete(next, 1_000);
    expect(replies.every((reply, n) => b.isIntact(3 + n, reply))).toBe(true);
    expect(b.objects.usage().pinnedBytes).toBe(2 * size);
    b.objects.check();
  });
});

describe("a store whose readers do not let go", () => {
  it("refuses copies and creates after a minute without any grant, saying what fills it", async () => {
    const world = new World();
    const [a, b] = [world.node(), world.node()];
    await a.put(1, 3 * MiB);
    await b.put(2, 5 * MiB);
    await world.clock.complete(b.get([{ i: 2, size: 5 * MiB, at: [] }], "keeps"));
    const refused = [b.get([{ i: 1, size: 3 * MiB, at: [a] }]), b.objects.create(idOf(3), 4 * MiB, owner, "writer", forever())].map((wait) =>
      expect(wait).rejects.toMatchObject({ code: "OBJECT_STORE_FULL", message: expect.stringContaining("held by values in use") }),
    );
    const [fits] = await world.clock.complete(a.get([{ i: 1, size: 3 * MiB, at: [] }]));
    a.letGo(1, fits as GetObjectReply);
    await world.clock.advance(500);
    expect(b.objects.waiting()).toMatchObject({ count: 2, bytes: 7 * MiB });
    expect(b.objects.waiting().oldestMs).toBeGreaterThanOrEqual(500);
    await world.clock.advance(storeFullMs + 1_000);
    await Promise.all(refused);
    b.objects.check();
    await b.put(4, 3 * MiB); // what fits goes on
  });

  it("takes nothing from a transfer that goes on, however long it is, and refuses nobody meanwhile", async () => {
    const world = new World();
    const [a, b] = [world.node(), world.node()];
    await a.put(1, 5 * MiB);
    world.msPerMiB = 20_000;
    const got = b.get([{ i: 1, size: 5 * MiB, at: [a] }]);
    await world.clock.advance(1);
    const put = b.put(2, 6 * MiB); // waits for the reader
    const [reply] = await world.clock.complete(got, 105_000);
    expect([b.isIntact(1, reply as GetObjectReply), a.served]).toEqual([true, 1]);
    b.letGo(1, reply as GetObjectReply);
    await put;
  });

  it("asks its readers, and lets one that fits pass, though writers always make room for each other by spilling", async () => {
    const world = new World();
    const [a, b] = [world.node(), world.node(16 * MiB)];
    const sizeOf = (i: number): number => (i < 3 ? 5 : 6) * MiB;
    for (const i of [1, 2, 3, 4]) await a.put(i, sizeOf(i));
    const write = b.spill.write.bind(b.spill);
    jest.spyOn(b.spill, "write").mockImplementation(async (items) => {
      await new Promise<void>((resolve) => world.clock.after(20, resolve));
      return write(items);
    });
    const get = (client: string, ...wanted: number[]) =>
      b.get(
        wanted.map((i) => ({ i, size: sizeOf(i), at: [a] })),
        client,
      );
    const [kept] = await world.clock.complete(get("task", 1), 1_000);
    let asked = 0;
    b.collect = () => asked++;
    let going = true;
    const writer = async (first: number): Promise<void> => {
      for (let i = first; going; i++) {
        await b.objects.create(idOf(i), 2 * MiB, owner, "writer", forever());
        b.objects.seal(idOf(i), "writer", false);
      }
    };
    const writers = [100, 100_000, 200_000].map(writer);
    await world.clock.advance(500);
    expect(asked).toBe(0);
    const large = get("other", 3, 4); // does not fit beside what the task holds
    const [nested] = await world.clock.complete(get("task", 2), 10_000);
    expect(asked).toBeGreaterThan(0);
    b.letGo(1, kept as GetObjectReply, "task");
    b.letGo(2, nested as GetObjectReply, "task");
    expect((await world.clock.complete(large, 10_000)).every(({ found }) => found)).toBe(true);
    going = false;
    await world.clock.complete(Promise.all(writers), 60_000);
  });

  it("counts a minute from when nothing moves, not from when somebody else gave up", async () => {
    const world = new World();
    const [a, b] = [world.node(), world.node()];
    await a.put(1, 4 * MiB);
    const { offset } = await b.objects.create(idOf(2), 5 * MiB, owner, "writer", forever());
    b.objects.seal(idOf(2), "writer", false);
    await b.get([{ i: 2, size: 5 * MiB, at: [] }], "keeps");
    const leaving = new AbortController();
    const ask = (signal: AbortSignal) => b.get([{ i: 1, size: 4 * MiB, at: [a] }], "reader", "get", signal);
    const left = expect(ask(leaving.signal)).rejects.toThrow("left");
    await world.clock.advance(storeFullMs - 500);
    leaving.abort(new Error("left"));
    await left;
    const next = ask(forever());
    await world.clock.advance(5_000);
    b.objects.release([idOf(2)], [offset], [], "keeps");
    expect((await world.clock.complete(next, 1_000))[0]).toMatchObject({ found: true });
  });

  it("refuses nothing as long as others are granted, however long the queue", async () => {
    const world = new World();
    const a = world.node();
    a.spill.options.capacityBytes = 10_000 * MiB;
    const write = a.spill.write.bind(a.spill);
    jest.spyOn(a.spill, "write").mockImplementation(async (items) => {
      await new Promise<void>((resolve) => world.clock.after(20_000, resolve)); // a disk that takes 20 s for what it is given
      return write(items);
    });
    const puts = Array.from({ length: 40 }, (_, i) =>
      a.objects.create(idOf(i), 2 * MiB, owner, "writer", forever()).then(() => a.objects.seal(idOf(i), "writer", false)),
    );
    await world.clock.complete(Promise.all(puts), 3_600_000);
    expect(world.clock.now()).toBeGreaterThan(2 * storeFullMs);
    a.objects.check();
  });
});

describe("any order of events", () => {
  it("gets, give-ups, deletions, crashes and small stores: right bytes, invariants, and nothing left at the end", async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const world = new World(seed);
      const { random, clock } = world;
      const pick = (n: number): number => Math.floor(random.next() * n);
      const nodes = Array.from({ length: 5 }, () => world.node(8 * MiB));
      const homes = new Map<number, { node: Node; size: number }>();
      for (let i = 1; i <= 8; i++) {
        const node = nodes[pick(5)] as Node;
        const size = [MiB / 2, MiB + 5, 2 * MiB][pick(3)] as number;
        await node.put(i, size);
        homes.set(i, { node, size });
      }
      let broken = "";
      world.fault = (from) => (from === broken ? new Error("connection reset") : undefined);
      const open = new Set<Promise<void>>();
      for (let step = 0; step < 60; step++) {
        await clock.advance(random.next());
        broken = pick(10) === 0 ? `n${pick(5)}:2` : pick(3) === 0 ? "" : broken;
        if (pick(20) === 0) {
          const i = 1 + pick(8);
          for (const { objects } of nodes) objects.delete([idOf(i)]);
          homes.delete(i);
          continue;
        }
        const node = nodes[pick(5)] as Node;
        const known = [...homes].filter(() => pick(3) === 0).slice(0, 3);
        if (known.length === 0) continue;
        const aborter = new AbortController();
        const wanted = known.map(([i, home]) => ({ i, size: home.size, at: [home.node, nodes[pick(5)] as Node] }));
        const client = `c${step}`;
        const get = node.get(wanted, client, (["get", "wait", "argument"] as const)[pick(3)], aborter.signal).then(
          async (replies) => {
            for (const [n, reply] of replies.entries())
              if (reply.found) expect([seed, node.isIntact(known[n]?.[0] as number, reply)]).toEqual([seed, true]);
            await new Promise<void>((resolve) => clock.after(random.next() * 3, resolve));
            if (pick(4) === 0) node.objects.clientGone(client);
            else replies.forEach((reply, n) => reply.found && node.letGo(known[n]?.[0] as number, reply, client));
          },
          (error: unknown) => expect(`${error as Error}`).toMatch(/left/),
        );
        open.add(get);
        if (pick(4) === 0) clock.after(random.next() * 3, () => aborter.abort(new Error("left")));
        for (const { objects } of nodes) objects.check();
      }
      broken = "";
      await clock.complete(Promise.all(open), 120_000);
      for (const { objects } of nodes) {
        objects.ownerDied(owner.workerId);
        objects.check();
      }
      await clock.advance(1_000);
      for (const { objects, spill, name } of nodes) expect([seed, name, objects.usedBytes, spill.itemCount]).toEqual([seed, name, 0, 0]);
    }
  });
});
