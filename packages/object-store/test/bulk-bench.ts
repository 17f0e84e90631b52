// Bulk transfer between two processes, each with an arena of its own, against a bare socket copy into the same memory.
// Prints one line a size. To be bundled to one file and run; with the argument "serve" it is the other process.
import { fork } from "node:child_process";
import { connect, createServer } from "node:net";
import { systemClock } from "@tray/common";
import { BulkClient, type BulkOpen, BulkServer, SharedArena } from "../src/index.js";

const capacity = 640 * 2 ** 20;
const sizes = [1, 10, 100, 500].map((mib) => mib * 2 ** 20);
const idOf = (size: number): string => size.toString(16).padStart(40, "0");

async function serve(): Promise<void> {
  const arena = SharedArena.create(`/dev/shm/tray-bench-${process.pid}`, capacity);
  arena.unlink();
  arena.write(0, capacity).fill(5);
  const source = {
    open: ({ objectId: id }: BulkOpen) => ({
      size: Number.parseInt(id, 16),
      read: (offset: number, length: number) => arena.write(offset, length),
      close: () => undefined,
    }),
  };
  const server = new BulkServer({ clock: systemClock, token: "t", source });
  const plain = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (request: Buffer) => socket.write(arena.write(0, request.readUInt32LE(0))));
  });
  plain.listen(0, "127.0.0.1", async () => {
    process.send?.({ bulk: await server.listen("127.0.0.1", 0), plain: (plain.address() as { port: number }).port });
  });
  process.on("disconnect", () => process.exit(0));
}

function plainCopy(port: number, into: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = 0;
    const socket = connect({
      port,
      host: "127.0.0.1",
      onread: {
        buffer: () => into.subarray(received % into.byteLength),
        callback: (bytes) => {
          received += bytes;
          if (received === into.byteLength) {
            socket.destroy();
            resolve();
          }
          return true;
        },
      },
    });
    socket.on("error", reject);
    const request = Buffer.alloc(4);
    request.writeUInt32LE(into.byteLength);
    socket.write(request);
  });
}

async function main(): Promise<void> {
  const child = fork(__filename, ["serve"]);
  const ports = await new Promise<{ bulk: number; plain: number }>((resolve) =>
    child.once("message", (m) => resolve(m as { bulk: number; plain: number })),
  );
  const arena = SharedArena.create(`/dev/shm/tray-bench-${process.pid}`, capacity);
  arena.unlink();
  arena.write(0, capacity).fill(1);
  const client = new BulkClient({ clock: systemClock, token: "t" });
  for (const size of sizes) {
    const into = arena.write(0, size);
    const rounds = Math.max(5, Math.min(200, Math.floor((1500 * 2 ** 20) / size)));
    const median = async (run: () => Promise<unknown>): Promise<string> => {
      const times: number[] = [];
      for (let i = 0; i < rounds; i++) {
        const start = performance.now();
        await run();
        times.push(performance.now() - start);
      }
      times.sort((a, b) => a - b);
      return (size / 2 ** 30 / ((times[rounds >> 1] as number) / 1000)).toFixed(2);
    };
    const bulk = await median(() =>
      client.pull({
        address: `127.0.0.1:${ports.bulk}`,
        objectId: idOf(size),
        size,
        into,
        self: "0".repeat(32),
        mayRedirect: false,
        takesPartial: false,
      }),
    );
    const plain = await median(() => plainCopy(ports.plain, into));
    console.log(`${size / 2 ** 20} MiB: bulk ${bulk} GiB/s, plain socket ${plain} GiB/s`);
  }
  await client.close();
  child.disconnect();
}

void (process.argv[2] === "serve" ? serve() : main());
