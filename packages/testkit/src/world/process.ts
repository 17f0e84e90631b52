// SimProcess: one simulated operating-system process: its host name on the network, its clock, its transport; and its sudden end.
//
// Invariants
//   P1. After kill() no code of the process runs any more, but for what is on the stack and promises that had settled: its timers never fire,
//       its links carry nothing in or out, its calls never settle.
import type { Clock, Random, SeededRandom, Timer } from "@tray/common";
import { Metrics } from "@tray/common";
import type { Link, LinkHandlers, MemoryNetwork, Transport } from "@tray/rpc";
import { type EventLog, SimLogger } from "./event-log.js";

export interface ProcessWorld {
  readonly clock: Clock;
  readonly network: MemoryNetwork;
  readonly log: EventLog;
  /** A process has begun: partitions in force apply to it, too. */
  readonly begun: (process: SimProcess) => void;
  readonly ended: (process: SimProcess) => void;
}

export type ProcessKind = "gcs" | "raylet" | "worker" | "driver" | "tool";

const noLink: Link = { remote: "nowhere", send: () => undefined, close: () => Promise.resolve(), abort: () => undefined };

export class SimProcess {
  alive = true;
  readonly clock: Clock;
  readonly transport: Transport;
  readonly logger: SimLogger;
  readonly metrics = new Metrics();
  readonly random: Random;
  private readonly periodic = new Set<Timer>();

  constructor(
    private readonly world: ProcessWorld,
    readonly kind: ProcessKind,
    /** Name on the network; no other living process has it. */
    readonly host: string,
    /** The machine that it runs on: what a partition cuts off, and a power cut ends. */
    readonly machine: string,
    readonly pid: number,
    random: SeededRandom,
    expectedErrors: readonly RegExp[] = [],
  ) {
    this.random = random;
    this.logger = new SimLogger(world.log, host, () => this.alive, expectedErrors);
    this.clock = this.makeClock(world.clock);
    this.transport = this.makeTransport(world.network.transport(host));
    world.log.note(host, `process ${pid} begins`);
    world.begun(this);
  }

  /**
   * SIGKILL, or with `silent` a power cut: peers hear nothing. `lingerMs`: what was sent before still leaves, as it does when a process exits by
   * itself.
   */
  kill(why: string, how: { silent?: boolean; lingerMs?: number } = {}): void {
    if (!this.alive) return;
    this.alive = false; // P1
    for (const timer of this.periodic) timer.cancel();
    this.periodic.clear();
    this.world.log.note(this.host, `process ${this.pid} ends: ${why}`);
    const cut = (): void => this.world.network.crash(this.host, how.silent === true ? { silent: true } : {});
    if (how.lingerMs === undefined) cut();
    else this.world.clock.after(how.lingerMs, cut);
    this.world.ended(this);
  }

  /** What an endpoint of this process calls when a handler broke an invariant. */
  readonly onBug = (error: unknown): void => {
    if (this.alive) this.world.log.violated(`${this.host}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  };

  private makeClock(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      wallMs: () => clock.wallMs(),
      after: (delayMs, fn) =>
        clock.after(delayMs, () => {
          if (this.alive) fn();
        }),
      every: (periodMs, fn) => {
        if (!this.alive) return { cancel: () => undefined };
        const timer = clock.every(periodMs, fn);
        this.periodic.add(timer);
        return {
          cancel: () => {
            timer.cancel();
            this.periodic.delete(timer);
          },
        };
      },
      endOfTurn: (fn) =>
        clock.endOfTurn(() => {
          if (this.alive) fn();
        }),
      soon: (fn) =>
        clock.soon(() => {
          if (this.alive) fn();
        }),
    };
  }

  private makeTransport(inner: Transport): Transport {
    const gate = (handlers: LinkHandlers, remote: string): LinkHandlers => ({
      onFrame: (frame) => {
        if (!this.alive) return;
        this.world.log.frame(this.host, remote, frame.length);
        handlers.onFrame(frame);
      },
      onEnd: (failure) => {
        if (this.alive) handlers.onEnd(failure);
      },
    });
    return {
      connect: (address, token, handlers) => (this.alive ? inner.connect(address, token, gate(handlers, address)) : noLink),
      listen: (address, accept) =>
        inner.listen(address, (link, token) => {
          if (!this.alive) return { refuse: "the process has ended" };
          const answer = accept(link, token);
          return "refuse" in answer ? answer : gate(answer, link.remote);
        }),
    };
  }
}
