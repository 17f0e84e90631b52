// A worker thread that uses the arena, then ends in the way it is told to while views of it are alive.
import { parentPort, workerData } from "node:worker_threads";
import { SharedArena } from "../src/index.js";

const { path, capacity, round } = workerData as { path: string; capacity: number; round: number };
const arena = SharedArena.open(path, capacity);
const shared = arena.write(4096, 4096);
const view = arena.readPrivate(0, 65_536);
const bytes = new Uint8Array(view.buffer);
const seen = bytes[0];
bytes[0] = 99; // copy-on-write: the main thread must not see it
shared[0] = round;
(globalThis as Record<string, unknown>).keep = [arena, shared, view, bytes];
parentPort?.once("message", () => undefined);
parentPort?.postMessage({ seen });
