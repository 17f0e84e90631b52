import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@tray/common";
import fc from "fast-check";
import type { Bulk, BulkOpen, BulkOpened, BulkReadable, BulkSource } from "./bulk.js";
import { BulkClient, type BulkClientOptions } from "./client.js";
import { MemoryBulkNetwork } from "./memory-bulk.js";
import { BulkServer, type BulkServerOptions } from "./server.js";
import { decodeResponse, encodeRequest, encodeResponse, noNodeId, proofOf, requestBytes, responseBytes } from "./wire.js";

const token = "0123456789abcdef";
const idOf = (n: number): string => n.toString(16).padStart(40, "0");

/** Objects in memory, and a count of how often each was opened and closed. */
class TestSource implements BulkSource {
  readonly objects = new Map<string, Uint8Array>();
  readonly opened: string[] = [];
  readonly requests: BulkOpen[] = [];
  /** How each send ended: whether all bytes were sent. */
  readonly ends: boolean[] = [];
  readonly reads: { offset: number; length: number }[] = [];
  open_ = 0;
  /** Objects of which it says that another node has them. */
  readonly elsewhere = new Map<string, string>();
  private idle: (() => void)[] = [];

  add(n: number, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >>> 8) * 7 + n) & 0xff;
    this.objects.set(idOf(n), bytes);
    return bytes;
  }
  open(request: BulkOpen): BulkOpened {
    const { objectId } = request;
    this.requests.push(request);
    const elsewhere = this.elsewhere.get(objectId);
    if (elsewhere !== undefined) return { elsewhere, receiving: true };
    const bytes = this.objects.get(objectId);
    if (bytes === undefined) return undefined;
    this.opened.push(objectId);
    this.open_++;
    let closed = false;
    return {
      size: bytes.byteLength,
      read: (offset, length) => {
        if (closed) throw new Error("read after close");
        this.reads.push({ offset, length });
        return bytes.subarray(offset, offset + length);
      },
      close: (complete) => {
        if (closed) throw new Error("closed twice");
        closed = true;
        this.ends.push(complete);
        this.open_--;
        if (this.open_ === 0) for (const done of this.idle.splice(0)) done();
      },
    };
  }
  /** Resolves when nothing is held open. */
  async settled(): Promise<void> {
    if (this.open_ > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }
}

const plain = { self: "a".repeat(32), mayRedirect: true, takesPartial: false };

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(options: Partial<BulkServerOptions> = {}): Promise<{ server: BulkServer; source: TestSource; address: string; port: number }> {
  const source = new TestSource();
  const server = new BulkServer({ clock: systemClock, source, token, ...options });
  const port = await server.listen("127.0.0.1", 0);
  cleanups.push(() => server.close());
  return { server, source, address: `127.0.0.1:${port}`, port };
}
function clientOf(options: Partial<BulkClientOptions> = {}): BulkClient {
  const client = new BulkClient({ clock: systemClock, token, retryDelayMs: 1, ...options });
  cleanups.push(() => client.close());
  return client;
}
async function listening(onSocket: (socket: Socket) => void): Promise<{ server: Server; address: string }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const implementations: [string, () => Promise<{ source: TestSource; address: string; bulk: Bulk }>][] = [
  [
    "BulkServer and BulkClient",
    async () => {
      const { source, address } = await serve();
      return { source, address, bulk: clientOf() };
    },
  ],
  [
    "MemoryBulk",
    async () => {
      const network = new MemoryBulkNetwork({ clock: systemClock });
      const source = new TestSource();
      network.serve("a:1", source);
      return { source, address: "a:1", bulk: network.client("b:1") };
    },
  ],
];

describe.each(implementations)("the Bulk contract: %s", (_name, make) => {
  it.each([0, 1, 65_537, 9 * 2 ** 20 + 17])("brings all %i bytes and nothing beside them", async (size) => {
    const { source, address, bulk } = await make();
    const bytes = source.add(1, size);
    const memory = new Uint8Array(size + 64).fill(0xee);
    await bulk.pull({ ...plain, address, objectId: idOf(1), size, into: memory.subarray(32, 32 + size) });
    expect(Buffer.compare(memory.subarray(32, 32 + size), bytes)).toBe(0);
    expect([...memory.subarray(0, 32), ...memory.subarray(32 + size)].every((byte) => byte === 0xee)).toBe(true);
    await source.settled();
  });

  it("brings a part of an object, and says what of it has come", async () => {
    const { source, address, bulk } = await make();
    const bytes = source.add(1, 5 * 2 ** 20);
    const [from, to] = [2 ** 20 + 3, 4 * 2 ** 20 + 1];
    const into = new Uint8Array(to - from);
    let heard = 0;
    const onBytes = (count: number): void => {
      heard += count;
      expect(Buffer.compare(into.subarray(0, heard), bytes.subarray(from, from + heard))).toBe(0);
    };
    expect(await bulk.pull({ ...plain, address, objectId: idOf(1), size: 5 * 2 ** 20, offset: from, into, onBytes })).toEqual({ kind: "complete" });
    expect(heard).toBe(to - from);
    await source.settled();
    expect(source.ends).toEqual([true]);
  });

  it("tells the source who asks and how, and the puller who has the object instead", async () => {
    const { source, address, bulk } = await make();
    const other = "b".repeat(32);
    source.elsewhere.set(idOf(1), other);
    const into = new Uint8Array(10).fill(0xee);
    const pull = { address, objectId: idOf(1), size: 10, into, self: plain.self };
    expect(await bulk.pull({ ...pull, mayRedirect: true, takesPartial: false })).toEqual({ kind: "elsewhere", nodeId: other, receiving: true });
    expect(into.every((byte) => byte === 0xee)).toBe(true);
    source.elsewhere.clear();
    source.add(1, 10);
    expect(await bulk.pull({ ...pull, mayRedirect: false, takesPartial: true })).toEqual({ kind: "complete" });
    expect(source.requests).toMatchObject([
      { objectId: idOf(1), nodeId: plain.self, mayRedirect: true, takesPartial: false },
      { objectId: idOf(1), nodeId: plain.self, mayRedirect: false, takesPartial: true },
    ]);
    await source.settled();
  });

  it("waits for bytes that are still to come, and breaks off when they will not", async () => {
    const { source, address, bulk } = await make();
    const bytes = source.add(1, 100);
    const open = source.open.bind(source);
    let more: (() => void) | undefined;
    let reads = 0;
    source.open = (request) => {
      const object = open(request) as BulkReadable;
      const read = (offset: number, length: number): Promise<Uint8Array> =>
        ++reads > 3
          ? Promise.reject(new Error("its source is gone"))
          : new Promise((resolve) => (more = () => resolve(bytes.subarray(offset, offset + Math.min(length, 30)))));
      return { ...object, read };
    };
    const into = new Uint8Array(100);
    let heard = 0;
    const pulling = bulk.pull({ ...plain, address, objectId: idOf(1), size: 100, into, onBytes: (count) => (heard += count) });
    const failed = expect(pulling).rejects.toMatchObject({ code: "UNAVAILABLE" });
    for (let part = 1; part <= 3; part++) {
      while (more === undefined) await new Promise(setImmediate);
      const give = more;
      more = undefined;
      give();
      while (heard < part * 30) await new Promise(setImmediate);
    }
    await failed;
    expect(Buffer.compare(into.subarray(0, 90), bytes.subarray(0, 90))).toBe(0);
    await source.settled();
    expect(source.ends.every((complete) => !complete)).toBe(true);
  });

  it("NOT_FOUND, INVALID_ARGUMENT for another size, UNAVAILABLE for nobody there", async () => {
    const { source, address, bulk } = await make();
    source.add(1, 100);
    await expect(bulk.pull({ ...plain, address, objectId: idOf(2), size: 1, into: new Uint8Array(1) })).rejects.toMatchObject({ code: "NOT_FOUND" });
    for (const size of [99, 101]) {
      await expect(bulk.pull({ ...plain, address, objectId: idOf(1), size, into: new Uint8Array(size) })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
    await expect(bulk.pull({ ...plain, address, objectId: idOf(1), size: 100, offset: 1, into: new Uint8Array(100) })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(bulk.pull({ ...plain, address: "127.0.0.1:1", objectId: idOf(1), size: 100, into: new Uint8Array(100) })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    await source.settled();
    await bulk.pull({ ...plain, address, objectId: idOf(1), size: 100, into: new Uint8Array(100) });
  });

  it("an aborted pull rejects with the signal's reason and lets go of the object", async () => {
    const { source, address, bulk } = await make();
    source.add(1, 8 * 2 ** 20);
    const aborter = new AbortController();
    const pulling = bulk.pull({ ...plain, address, objectId: idOf(1), size: 8 * 2 ** 20, into: new Uint8Array(8 * 2 ** 20), signal: aborter.signal });
    const reason = new Error("not wanted any more");
    aborter.abort(reason);
    await expect(pulling).rejects.toBe(reason);
    await source.settled();
  });

  it("close makes later pulls UNAVAILABLE", async () => {
    const { source, address, bulk } = await make();
    source.add(1, 10);
    await bulk.close();
    await expect(bulk.pull({ ...plain, address, objectId: idOf(1), size: 10, into: new Uint8Array(10) })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
  });
});

describe("BulkClient against BulkServer", () => {
  it("V3: a wrong token learns nothing", async () => {
    const { source, address } = await serve();
    source.add(1, 10);
    const stranger = clientOf({ token: "guess" });
    for (const n of [1, 2]) {
      await expect(stranger.pull({ ...plain, address, objectId: idOf(n), size: 10, into: new Uint8Array(10) })).rejects.toMatchObject({
        code: "AUTHENTICATION",
      });
    }
    expect(source.opened).toEqual([]);
  });

  it("B1: many pulls share few connections, and each gets its own bytes", async () => {
    let accepted = 0;
    const { source, port } = await serve();
    const through = await listening((socket) => {
      accepted++;
      const inner = connect(port, "127.0.0.1");
      inner.on("error", () => socket.destroy());
      socket.pipe(inner).pipe(socket);
      socket.on("close", () => inner.destroy());
    });
    const client = clientOf({ connectionsPerPeerMax: 3 });
    const pulls = Array.from({ length: 40 }, (_, n) => {
      const bytes = source.add(n, 1000 + n * 5000);
      const into = new Uint8Array(bytes.byteLength);
      return client
        .pull({ ...plain, address: through.address, objectId: idOf(n), size: bytes.byteLength, into })
        .then(() => Buffer.compare(into, bytes));
    });
    expect((await Promise.all(pulls)).every((difference) => difference === 0)).toBe(true);
    expect(accepted).toBe(3);
    expect(client.stats).toMatchObject({ transfers: 40, failures: 0 });
  });

  it("resumes where the connection broke off, without asking for bytes it has", async () => {
    const { source, port } = await serve({ sliceBytes: 2 ** 20 });
    const size = 12 * 2 ** 20 + 5;
    const bytes = source.add(1, size);
    const requested: number[] = [];
    const cutAfter = [5 * 2 ** 20, 3 * 2 ** 20, Number.POSITIVE_INFINITY];
    const through = await listening((socket) => {
      let left = cutAfter.shift() as number;
      const inner = connect(port, "127.0.0.1");
      inner.on("error", () => socket.destroy());
      socket.on("data", (chunk: Buffer) => {
        if (chunk.length === requestBytes) requested.push(Number(chunk.readBigUInt64BE(64)));
        inner.write(chunk);
      });
      inner.on("data", (chunk: Buffer) => {
        left -= chunk.length;
        if (left > 0) {
          if (!socket.write(chunk)) {
            inner.pause();
            socket.once("drain", () => inner.resume());
          }
          return;
        }
        inner.destroy();
        socket.destroySoon();
      });
      socket.on("close", () => inner.destroy());
    });
    const into = new Uint8Array(size);
    await clientOf().pull({ ...plain, address: through.address, objectId: idOf(1), size, into });
    expect(Buffer.compare(into, bytes)).toBe(0);
    expect(requested.length).toBe(3);
    expect(requested[0]).toBe(0);
    expect(requested[1]).toBeGreaterThan(2 ** 20);
    expect(requested[2]).toBeGreaterThan(requested[1] as number);
    await source.settled();
  });

  it("B3: gives up on a peer that breaks off again and again, and on one that says nothing", async () => {
    let connections = 0;
    const rude = await listening((socket) => {
      connections++;
      socket.destroy();
    });
    const pull = { ...plain, objectId: idOf(1), size: 10, into: new Uint8Array(10) };
    await expect(clientOf({ attempts: 3 }).pull({ ...pull, address: rude.address })).rejects.toMatchObject({ code: "UNAVAILABLE", retryable: true });
    expect(connections).toBe(3);
    const mute = await listening((socket) => socket.resume());
    await expect(clientOf({ attempts: 2, stallTimeoutMs: 30 }).pull({ ...pull, address: mute.address })).rejects.toThrow(/no byte for/);
  });

  it("N2: a peer that answers nonsense, or more than was asked, harms only its connection", async () => {
    for (const answer of [Buffer.alloc(responseBytes, 0xff), Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]) {
      const liar = await listening((socket) => socket.once("data", () => socket.write(answer)));
      await expect(
        clientOf({ attempts: 2 }).pull({ ...plain, address: liar.address, objectId: idOf(1), size: 10, into: new Uint8Array(10) }),
      ).rejects.toMatchObject({
        code: "UNAVAILABLE",
      });
    }
    const generous = await listening((socket) => {
      socket.once("data", () => {
        const header = encodeResponse({ requestId: 1, status: "ok", size: 10, length: 10, nodeId: noNodeId, receiving: false });
        socket.write(Buffer.concat([header, Buffer.alloc(100, 5)]));
      });
    });
    const memory = new Uint8Array(32);
    await clientOf().pull({ ...plain, address: generous.address, objectId: idOf(1), size: 10, into: memory.subarray(0, 10) });
    expect([...memory]).toEqual([...new Array(10).fill(5), ...new Array(22).fill(0)]);
  });

  it("an idle connection that the server has closed meanwhile costs nothing but a new one", async () => {
    const { source, address } = await serve({ idleTimeoutMs: 20 });
    source.add(1, 10);
    const client = clientOf({ attempts: 1 });
    const into = new Uint8Array(10);
    for (let i = 0; i < 3; i++) {
      await client.pull({ ...plain, address, objectId: idOf(1), size: 10, into });
      // Until the server's timer has certainly fired; the client may or may not have noticed.
      await new Promise<void>((resolve) => systemClock.after(i === 1 ? 20 : 60, resolve));
    }
    expect(client.stats.failures).toBe(0);
  });

  it("B2: after an abort nothing is written to the memory any more, though the peer goes on", async () => {
    const { source, address } = await serve();
    const size = 64 * 2 ** 20;
    source.add(1, size);
    source.add(2, 1000);
    const client = clientOf();
    const into = new Uint8Array(size);
    const aborter = new AbortController();
    let opened = false;
    const open = source.open.bind(source);
    source.open = (id) => {
      opened = true;
      return open(id);
    };
    const pulling = client.pull({ ...plain, address, objectId: idOf(1), size, into, signal: aborter.signal });
    while (!opened || client.stats.bytes === 0) await new Promise(setImmediate);
    aborter.abort();
    await expect(pulling).rejects.toMatchObject({ name: "AbortError" });
    expect(client.stats.bytes).toBeLessThan(size);
    into.fill(0xaa);
    await source.settled();
    await client.pull({ ...plain, address, objectId: idOf(2), size: 1000, into: new Uint8Array(1000) });
    expect(into.every((byte) => byte === 0xaa)).toBe(true);
  });
});

describe("over TLS", () => {
  it("moves the same bytes in place, and refuses a peer without a certificate", async () => {
    const file = (name: string): Buffer => readFileSync(join(__dirname, "../../test/identity", name));
    const identity = { key: file("key.pem"), cert: file("cert.pem"), ca: file("cert.pem") };
    const { source, address } = await serve({ tls: { ...identity, requestCert: true, rejectUnauthorized: true } });
    const size = 20 * 2 ** 20 + 3;
    const bytes = source.add(1, size);
    const memory = new Uint8Array(size + 8);
    await clientOf({ tls: identity }).pull({ ...plain, address, objectId: idOf(1), size, into: memory.subarray(4, size + 4) });
    expect(Buffer.compare(memory.subarray(4, size + 4), bytes)).toBe(0);
    await source.settled();
    source.opened.length = 0;
    const stranger = clientOf({ attempts: 1, tls: { ca: identity.ca } });
    await expect(stranger.pull({ ...plain, address, objectId: idOf(1), size, into: new Uint8Array(size) })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    expect(source.opened).toEqual([]);
  });
});

describe("BulkServer against hostile peers", () => {
  async function speak(port: number, bytes: Buffer): Promise<Buffer> {
    const socket = connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.write(bytes);
    socket.end();
    await once(socket, "close");
    return Buffer.concat(chunks);
  }
  const good = (offset: number, length: number, id = idOf(1)): Buffer =>
    encodeRequest({ requestId: 7, objectId: id, proof: proofOf(token), offset, length, nodeId: plain.self, mayRedirect: false, takesPartial: false });

  it("answers no noise, and serves on", async () => {
    const { source, port, address } = await serve();
    source.add(1, 100);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 0, maxLength: 300 }), async (noise) => {
        expect((await speak(port, Buffer.from(noise))).length).toBe(0);
      }),
      { numRuns: 40 },
    );
    expect(source.opened).toEqual([]);
    await clientOf().pull({ ...plain, address, objectId: idOf(1), size: 100, into: new Uint8Array(100) });
  });

  it("refuses ranges outside of the object, however large the numbers", async () => {
    const { source, port } = await serve();
    source.add(1, 100);
    for (const [offset, length] of [
      [0, 101],
      [101, 0],
      [100, 1],
      [Number.MAX_SAFE_INTEGER, 1],
      [1, Number.MAX_SAFE_INTEGER - 1],
    ] as const) {
      const answer = await speak(port, good(offset, length));
      expect(answer.length).toBe(responseBytes);
      expect(decodeResponse(answer)).toEqual({ requestId: 7, status: "invalid", size: 100, length: 0, nodeId: noNodeId, receiving: false });
    }
    const beyond = good(0, 1);
    beyond.writeBigUInt64BE(2n ** 64n - 1n, 64);
    expect((await speak(port, beyond)).length).toBe(0);
    expect(source.reads).toEqual([]);
    expect(source.open_).toBe(0);
  });

  it("V2: cuts off who sends more than it may, or stops in the middle", async () => {
    const { port } = await serve({ stallTimeoutMs: 30 });
    expect((await speak(port, Buffer.alloc(10_000, 1))).length).toBe(0);
    const slow = connect(port, "127.0.0.1");
    slow.on("error", () => undefined);
    slow.write(good(0, 1).subarray(0, 40));
    slow.resume();
    await once(slow, "close");
  });

  it("V1: lets go of an object whose reader stalls, or vanishes in the middle; a broken source ends one connection", async () => {
    const { source, port, server } = await serve({ stallTimeoutMs: 50 });
    source.add(1, 64 * 2 ** 20);
    const lazy = connect(port, "127.0.0.1");
    lazy.on("error", () => undefined);
    lazy.write(good(0, 64 * 2 ** 20));
    lazy.pause();
    const gone = connect(port, "127.0.0.1");
    gone.on("error", () => undefined);
    gone.write(good(0, 64 * 2 ** 20));
    await once(gone, "data");
    gone.destroy();
    while (source.opened.length < 2) await new Promise(setImmediate);
    await source.settled();
    lazy.destroy();
    const open = source.open.bind(source);
    source.open = () => {
      throw new Error("disk on fire");
    };
    expect(decodeResponse((await speak(port, good(0, 1))).subarray(0, responseBytes))?.status).toBe("unavailable");
    source.open = (id) => {
      const object = open(id) as BulkReadable;
      return { ...object, read: () => Promise.reject(new Error("disk on fire")), close: object.close };
    };
    expect((await speak(port, good(0, 10))).length).toBeLessThanOrEqual(responseBytes);
    await source.settled();
    expect(server.stats.failures).toBe(4);
  });

  it("close ends transfers under way and lets go of their objects", async () => {
    const { source, port, server } = await serve();
    source.add(1, 64 * 2 ** 20);
    const reader = connect(port, "127.0.0.1");
    reader.on("error", () => undefined);
    reader.write(good(0, 64 * 2 ** 20));
    await once(reader, "data");
    reader.pause();
    await server.close();
    expect(source.open_).toBe(0);
    reader.destroy();
  });
});
