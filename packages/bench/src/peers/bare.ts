// What the bare primitives do on this machine: the ceilings of what is built on them.
import { type Clock, deferred, TrayError } from "@tray/common";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { rates, type Samples, timed, turn, type Windows } from "../case.js";

interface Host {
  readonly clock: Clock;
  readonly windows: Windows;
}

const bulkBytes = 100 << 20;
const bulkGibibytes = bulkBytes / 2 ** 30;
const diskBytes = 2 ** 31;

export async function measureBare(name: string, host: Host): Promise<Samples> {
  const measure = primitives[name];
  if (measure === undefined) throw new TrayError("INVALID_ARGUMENT", `there is no primitive ${name}`);
  return { [name]: await measure(host) };
}

const primitives: Readonly<Record<string, (host: Host) => Promise<number[]>>> = {
  async unix_socket_ping_pong(host) {
    const dir = mkdtempSync(join(tmpdir(), "tray-bench-"));
    try {
      return await withPeer(join(dir, "s"), echoScript, async (socket) => await pingPongs(host, socket));
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },

  async message_port_ping_pong(host) {
    const thread = new Worker(`const { parentPort } = require("node:worker_threads"); parentPort.on("message", (m) => parentPort.postMessage(m));`, {
      eval: true,
    });
    try {
      return await rates(host, async () => {
        for (let i = 0; i < 100; i++) {
          const answer = new Promise((resolve) => thread.once("message", resolve));
          thread.postMessage(i);
          await answer;
        }
        return 100;
      });
    } finally {
      await thread.terminate();
    }
  },

  async memcpy_100MiB(host) {
    const from = new Uint8Array(bulkBytes).fill(7);
    const to = new Uint8Array(bulkBytes).fill(1);
    return await rates(host, async () => {
      to.set(from);
      await turn(host.clock);
      return bulkGibibytes;
    });
  },

  async disk_write({ clock, windows }) {
    const dir = mkdtempSync(join(tmpdir(), "tray-bench-"));
    const piece = Buffer.alloc(64 << 20, 7);
    const samples: number[] = [];
    try {
      for (let i = 0; i < windows.repetitions; i++) {
        const file = await open(join(dir, "file"), "w");
        const tookMs = await timed(clock, async () => {
          for (let at = 0; at < diskBytes; at += piece.length) await file.write(piece);
          await file.datasync();
        });
        await file.close();
        samples.push(diskBytes / 2 ** 30 / (tookMs / 1000));
      }
      return samples;
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },

  /** One byte asks for 100 MiB; they land where `onread` puts them, as the bulk plane reads. */
  async socket_copy_100MiB(host) {
    const target = Buffer.alloc(bulkBytes, 1);
    const slice = 1 << 20;
    let at = 0;
    let whole = deferred<void>();
    const onread = {
      buffer: () => target.subarray(at, Math.min(at + slice, bulkBytes)) as Buffer<ArrayBuffer>,
      callback: (length: number) => {
        at += length;
        if (at < bulkBytes) return true;
        at = 0;
        whole.resolve();
        return true;
      },
    };
    const peer = startPeer(bulkScript, []);
    try {
      const port = await new Promise<number>((resolve) => peer.stdout?.once("data", (text: Buffer) => resolve(Number(text.toString()))));
      const socket = connect({ host: "127.0.0.1", port, onread });
      await new Promise((resolve) => socket.once("connect", resolve));
      try {
        return await rates(host, async () => {
          whole = deferred<void>();
          socket.write("x");
          await whole.promise;
          return bulkGibibytes;
        });
      } finally {
        socket.destroy();
      }
    } finally {
      peer.kill();
    }
  },
};

async function pingPongs(host: Host, socket: Socket): Promise<number[]> {
  let answered = deferred<void>();
  socket.on("data", () => answered.resolve());
  return await rates(host, async () => {
    for (let i = 0; i < 100; i++) {
      answered = deferred<void>();
      socket.write("x");
      await answered.promise;
    }
    return 100;
  });
}

const echoScript = `require("node:net").connect(process.argv[1]).on("data", function (bytes) { this.write(bytes); }).on("close", () => process.exit());`;
const bulkScript = `
  const bytes = Buffer.alloc(${bulkBytes}, 7);
  const server = require("node:net").createServer((s) => { s.on("data", () => s.write(bytes)); s.on("close", () => process.exit()); });
  server.listen(0, "127.0.0.1", () => process.stdout.write(String(server.address().port)));`;

const startPeer = (script: string, args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ["-e", script, ...args], { stdio: ["ignore", "pipe", "inherit"] });

/** Listens, starts a process that connects, and gives their connection. */
async function withPeer<T>(path: string, script: string, use: (socket: Socket) => Promise<T>): Promise<T> {
  const connected = deferred<Socket>();
  const server: Server = createServer((socket) => connected.resolve(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const peer = startPeer(script, [path]);
  try {
    const socket = await connected.promise;
    try {
      return await use(socket);
    } finally {
      socket.destroy();
    }
  } finally {
    server.close();
    peer.kill();
  }
}
