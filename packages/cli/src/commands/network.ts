// Which address of this machine others use, and whether a port is free.
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";

/** The first address that is not loopback, or loopback on a machine that is alone. */
export function ownAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const a of addresses ?? []) if (a.family === "IPv4" && !a.internal) return a.address;
  }
  return "127.0.0.1";
}

/** The local address of the route to `host`; no packet is sent. */
export function addressTowards(host: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const finish = (address: string): void => {
      socket.close();
      resolve(address);
    };
    socket.once("error", () => finish(ownAddress()));
    socket.connect(port, host, () => finish(socket.address().address));
  });
}

export function portIsFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

export const isLoopbackHost = (host: string): boolean => host === "localhost" || host === "::1" || host.startsWith("127.");
