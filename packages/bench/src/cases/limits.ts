// What the bare primitives do; rows that others are compared with (peers/bare.ts measures them).
import type { Case } from "../case.js";

const limit = (name: string, unit: string, what: string): Case => ({
  name,
  group: "limits",
  rows: [{ name, unit, better: "higher", what }],
  systems: ["bare"],
  ownCluster: false,
  once: false,
});

export const limitCases: readonly Case[] = [
  limit("unix_socket_ping_pong", "calls/s", "a byte to another Node process and back over a Unix socket"),
  limit("message_port_ping_pong", "calls/s", "a message to another thread and back"),
  limit("memcpy_100MiB", "GiB/s", "100 MiB copied from one warm array to another"),
  limit("disk_write", "GiB/s", "a file of 2 GiB in the temporary directory, in pieces of 64 MiB, with fdatasync at the end"),
  limit("socket_copy_100MiB", "GiB/s", "100 MiB from another process over loopback TCP into one buffer"),
];
