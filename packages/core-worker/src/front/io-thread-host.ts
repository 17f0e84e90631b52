// The user's side of starting an I/O thread: rings, ports, and the first word from the other side.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import { claimSlots } from "../thread/claims.js";
import { createRingBuffer } from "../thread/ring.js";
import type { ChannelPorts } from "../thread/channel.js";
import type { Failure } from "../thread/to-user.js";
import type { Connection } from "./connection.js";

/** What an I/O thread is given besides its ports. Structured-cloneable. */
export type IoTask = Readonly<Record<string, unknown>> & { readonly kind: "driver" | "worker" };

export interface IoThreadData {
  readonly task: IoTask;
  readonly ports: ChannelPorts;
  readonly control: MessagePort;
  /** [0]: 0 until the first word was said, then 1. [1]: acknowledgement of a last flush. */
  readonly state: Int32Array;
  readonly claims: Int32Array;
}

/** The I/O thread's first word. */
export type FirstWord =
  | {
      readonly ok: true;
      readonly connection: Connection;
      readonly arena: { readonly path: string; readonly capacity: number };
      readonly extra: Readonly<Record<string, unknown>>;
    }
  | { readonly ok: false; readonly failure: Omit<Failure, "cause"> };

export interface IoThread {
  readonly worker: Worker;
  readonly ports: ChannelPorts;
  readonly control: MessagePort;
  readonly state: Int32Array;
  readonly claims: Int32Array;
  /** Resolves with the first word; the process stays alive meanwhile. */
  firstWord(): Promise<FirstWord>;
  /** The same, blocking this thread. */
  firstWordSync(): FirstWord;
}

const startTimeoutMs = 60_000;

/** `file`: the bundled I/O thread. */
export function startIoThread(file: string, task: IoTask): IoThread {
  const toCore = createRingBuffer();
  const toUser = createRingBuffer();
  const wake = new MessageChannel();
  const large = new MessageChannel();
  const control = new MessageChannel();
  const state = new Int32Array(new SharedArrayBuffer(64));
  const claims = new Int32Array(new SharedArrayBuffer(claimSlots * 4));
  const data: IoThreadData = {
    task,
    ports: { outgoing: toUser, incoming: toCore, wake: wake.port2, large: large.port2 },
    control: control.port2,
    state,
    claims,
  };
  const worker = new Worker(file, {
    workerData: data,
    transferList: [wake.port2, large.port2, control.port2],
    name: "tray-io",
    stderr: false,
    execArgv: [],
  });
  worker.unref();
  control.port1.unref();
  const failed = (message: string): FirstWord => ({
    ok: false,
    failure: {
      code: "SYSTEM",
      message,
      hint: "if this program is bundled, mark the package tray as external, so that it can find its I/O thread",
      detailsJson: "",
    },
  });
  return {
    worker,
    ports: { outgoing: toCore, incoming: toUser, wake: wake.port1, large: large.port1 },
    control: control.port1,
    state,
    claims,
    firstWord: () =>
      new Promise((resolve) => {
        control.port1.ref();
        const settle = (word: FirstWord): void => {
          control.port1.unref();
          control.port1.removeAllListeners("message");
          worker.removeListener("error", onError);
          resolve(word);
          worker.unref();
        };
        const onError = (error: Error): void => settle(failed(`the I/O thread (${file}) did not start: ${error.message}`));
        control.port1.once("message", settle);
        worker.once("error", onError);
      }),
    firstWordSync: () => {
      Atomics.wait(state, 0, 0, startTimeoutMs);
      const received = receiveMessageOnPort(control.port1) as { message: FirstWord } | undefined;
      return received?.message ?? failed(`the I/O thread (${file}) said nothing within ${startTimeoutMs / 1000} s`);
    },
  };
}

/** On the I/O thread: says the first word. */
export function sayFirstWord(data: IoThreadData, word: FirstWord): void {
  data.control.postMessage(word);
  Atomics.store(data.state, 0, 1);
  Atomics.notify(data.state, 0);
}
