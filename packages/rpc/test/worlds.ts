// Where the contract suites run: the real transport over loopback, and the simulated one. Both can break every connection without warning.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createServer, connect as dialTcp, type AddressInfo, type Socket } from "node:net";
import { type Clock, SeededRandom, SimClock, systemClock } from "@tray/common";
import { GrpcTransport, type TlsFiles } from "../src/grpc/transport.js";
import { MemoryNetwork } from "../src/memory/network.js";
import type { Transport } from "../src/transport.js";

export interface World {
  readonly clock: Clock;
  transport(host: string): Transport;
  /** What to listen on. */
  address(host: string): string;
  /** An address at which nobody listens. */
  deadAddress(): Promise<string>;
  /** An address that leads to `address` from `from`, and whose connections `breakLinks` breaks. */
  breakable(from: string, address: string): Promise<string>;
  /** Breaks the connections made through `breakable`; returns how many. */
  breakLinks(): number;
  /** Awaits while time passes. */
  run<T>(work: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export function memoryWorld(seed = 1): World & { network: MemoryNetwork; clock: SimClock } {
  const clock = new SimClock();
  const network = new MemoryNetwork({ clock, random: new SeededRandom(seed) });
  const routes: [string, string][] = [];
  return {
    clock,
    network,
    transport: (host) => network.transport(host),
    address: (host) => `${host}:0`,
    deadAddress: async () => "nobody:9",
    breakable: async (from, address) => {
      routes.push([from, address.slice(0, address.lastIndexOf(":"))]);
      return address;
    },
    breakLinks: () => routes.reduce((sum, [a, b]) => sum + network.breakLinks(a, b), 0),
    run: (work) => clock.complete(work),
    close: async () => undefined,
  };
}

/** A TCP relay whose connections can be reset. */
async function relay(target: string): Promise<{ address: string; breakAll(): number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const port = Number(target.slice(target.lastIndexOf(":") + 1));
  const server = createServer((near) => {
    const far = dialTcp(port, "127.0.0.1");
    for (const socket of [near, far]) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        near.destroy();
        far.destroy();
        sockets.delete(near);
      });
    }
    sockets.add(near);
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const breakAll = (): number => {
    const count = sockets.size;
    for (const socket of sockets) socket.resetAndDestroy();
    return count;
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    breakAll,
    close: () => {
      breakAll();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

export function grpcWorld(tls?: TlsFiles): World {
  const transport = new GrpcTransport({ tls });
  const relays: Awaited<ReturnType<typeof relay>>[] = [];
  return {
    clock: systemClock,
    transport: () => transport,
    address: () => "127.0.0.1:0",
    deadAddress: async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const { port } = server.address() as AddressInfo;
      await new Promise<void>((resolve) => server.close(() => resolve()));
      return `127.0.0.1:${port}`;
    },
    breakable: async (_from, address) => {
      const made = await relay(address);
      relays.push(made);
      return made.address;
    },
    breakLinks: () => relays.reduce((sum, r) => sum + r.breakAll(), 0),
    run: (work) => work,
    close: async () => {
      await Promise.all(relays.map((r) => r.close()));
    },
  };
}

const identityFile = (name: string): Buffer => readFileSync(join(__dirname, "../../object-store/test/identity", name));
/** For 127.0.0.1, its own authority. */
export const testIdentity: TlsFiles = { ca: identityFile("cert.pem"), cert: identityFile("cert.pem"), key: identityFile("key.pem") };

export const worlds: [string, () => World][] = [
  ["MemoryNetwork", memoryWorld],
  ["GrpcTransport", grpcWorld],
  ["GrpcTransport with TLS", () => grpcWorld(testIdentity)],
];
