// MemoryNetwork: a network in one process, for simulations. Time and chance come from outside, so a seed replays a run.
//
// What it models is TCP underneath a stream: frames arrive in order, late, and never with one missing. What can happen instead:
//   break      the link ends at both sides; frames in flight are lost (`breakChance` per frame, `breakLinks`, `crash`)
//   duplicate  a frame arrives twice (`duplicateChance`): TCP would not, but whoever resumes must bear it
//   partition  frames and goodbyes are held until healed, new connections get no answer: silence, not an error
//   crash      links of a host end at the other side; with `silent` (power cut) they hear nothing at all
// Hosts are names without ":"; one name per simulated process when processes are to crash one by one.
import { type Clock, Deque, type Random, TrayError } from "@tray/common";
import type { Accept, Link, LinkFailure, LinkHandlers, Listener, Transport } from "../transport.js";

export interface MemoryNetworkOptions {
  clock: Clock;
  random: Random;
  /** One-way delay of a frame, uniform in [min, max]. Default [0.1, 0.5]. */
  delayMs?: readonly [min: number, max: number];
  /** Probability that a frame breaks its link. Default 0. */
  breakChance?: number;
  /** Probability that a frame arrives twice. Default 0. */
  duplicateChance?: number;
}

/** Chances and delays may be changed while running; frames under way keep their delay. */
export class MemoryNetwork {
  delayMs: readonly [min: number, max: number];
  breakChance: number;
  duplicateChance: number;
  private readonly clock: Clock;
  private readonly random: Random;
  private readonly listeners = new Map<string, Accept>();
  private readonly pairs = new Set<Pair>();
  /** "from→to" directions that are cut. */
  private readonly cut = new Set<string>();
  private lastPort = 0;

  constructor(options: MemoryNetworkOptions) {
    this.clock = options.clock;
    this.random = options.random;
    this.delayMs = options.delayMs ?? [0.1, 0.5];
    this.breakChance = options.breakChance ?? 0;
    this.duplicateChance = options.duplicateChance ?? 0;
  }

  transport(host: string): Transport {
    return {
      connect: (address, token, handlers) => this.connect(host, address, token, handlers),
      listen: async (address, accept) => this.listen(host, address, accept),
    };
  }

  /** Cuts both directions between two hosts, or only a → b. */
  partition(a: string, b: string, direction: "both" | "one-way" = "both"): void {
    this.cut.add(`${a}→${b}`);
    if (direction === "both") this.cut.add(`${b}→${a}`);
  }
  /** Mends what `partition` cut (all of it without arguments); held frames arrive. */
  heal(a?: string, b?: string, direction: "both" | "one-way" = "both"): void {
    if (a === undefined || b === undefined) this.cut.clear();
    else {
      this.cut.delete(`${a}→${b}`);
      if (direction === "both") this.cut.delete(`${b}→${a}`);
    }
    for (const pair of this.pairs) pair.released();
  }
  /** Ends every link between two hosts without goodbye. Returns how many. */
  breakLinks(a: string, b: string): number {
    const between = [...this.pairs].filter((pair) => pair.joins(a, b));
    for (const pair of between) pair.break("connection reset");
    return between.length;
  }
  /** The host's process is gone: nothing listens there, its own handlers hear nothing more, its peers a broken link (or, `silent`, nothing). */
  crash(host: string, how: { silent?: boolean } = {}): void {
    for (const address of [...this.listeners.keys()]) if (hostOf(address) === host) this.listeners.delete(address);
    for (const pair of [...this.pairs]) pair.crashed(host, how.silent === true);
  }
  /** Links alive: for a test that nothing is left. */
  get linkCount(): number {
    return this.pairs.size;
  }

  /** @internal */
  isCut(from: string, to: string): boolean {
    return this.cut.has(`${from}→${to}`);
  }
  /** @internal */
  drawDelay(): number {
    return this.delayMs[0] + (this.delayMs[1] - this.delayMs[0]) * this.random.next();
  }
  /** @internal */
  chance(p: number): boolean {
    return p > 0 && this.random.next() < p;
  }
  /** @internal */
  now(): number {
    return this.clock.now();
  }
  /** @internal */
  after(delayMs: number, fn: () => void): void {
    this.clock.after(delayMs, fn);
  }
  /** @internal */
  forget(pair: Pair): void {
    this.pairs.delete(pair);
  }

  private connect(host: string, address: string, token: string | undefined, handlers: LinkHandlers): Link {
    const pair = new Pair(this, host, address, handlers);
    this.pairs.add(pair);
    pair.requestConnection(() => {
      const accept = this.listeners.get(address);
      if (accept === undefined) return pair.refuse({ kind: "refused", message: `connection refused at ${address}` });
      const answer = accept(pair.acceptor, token);
      if ("refuse" in answer) pair.refuse({ kind: "unauthenticated", message: answer.refuse });
      else pair.accepted(answer);
    });
    return pair.dialler;
  }

  private listen(host: string, address: string, accept: Accept): Listener {
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const bound = `${host}:${port === 0 ? ++this.lastPort : port}`;
    if (this.listeners.has(bound)) throw new TrayError("CONNECTION", `cannot listen on ${bound}: address already in use`);
    this.listeners.set(bound, accept);
    return {
      address: bound,
      close: async () => {
        if (this.listeners.get(bound) === accept) this.listeners.delete(bound);
      },
    };
  }
}

const hostOf = (address: string): string => address.slice(0, address.lastIndexOf(":"));

type Item = { readonly frame: Uint8Array } | { readonly end: LinkFailure } | { readonly act: () => void };

/** One direction of a link: a queue whose head leaves when it is due and the way is open. */
class Direction {
  private readonly queue = new Deque<Item>();
  private held = 0;
  private lastDue = 0;
  closed = false;

  constructor(
    private readonly network: MemoryNetwork,
    readonly from: string,
    readonly to: string,
    private readonly deliver: (item: Item) => void,
  ) {}

  put(item: Item): void {
    if (this.closed) return;
    this.queue.push(item);
    // Never before the one ahead: a stream keeps its order however long each frame takes.
    this.lastDue = Math.max(this.lastDue, this.network.now() + this.network.drawDelay());
    this.network.after(Math.max(0, this.lastDue - this.network.now()), () => {
      this.held++;
      this.release();
    });
  }

  release(): void {
    while (this.held > 0 && !this.network.isCut(this.from, this.to)) {
      this.held--;
      const item = this.queue.shift();
      if (item !== undefined) this.deliver(item);
    }
  }

  /** What is under way is lost; the far end hears of the end, if it can be reached. */
  cutOff(failure: LinkFailure): void {
    if (this.closed) return;
    this.queue.clear();
    this.put({ end: failure });
    this.closed = true;
  }

  /** Nothing more goes this way; an end that is under way still arrives. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.queue.clear();
  }
}

/** A link with both its ends. */
class Pair {
  readonly dialler: Link;
  readonly acceptor: Link;
  private readonly ends: readonly [End, End];

  constructor(
    private readonly network: MemoryNetwork,
    host: string,
    address: string,
    handlers: LinkHandlers,
  ) {
    const server = hostOf(address);
    const near: End = new End(this, address, handlers, new Direction(network, host, server, (item) => far.arrive(item)));
    const far: End = new End(this, host, undefined, new Direction(network, server, host, (item) => near.arrive(item)));
    this.ends = [near, far];
    this.dialler = near;
    this.acceptor = far;
  }

  requestConnection(atServer: () => void): void {
    this.ends[0].out.put({ act: atServer });
  }
  accepted(handlers: LinkHandlers): void {
    this.ends[1].accept(handlers);
  }
  refuse(failure: LinkFailure): void {
    this.ends[1].refuse(failure);
  }
  joins(a: string, b: string): boolean {
    const { from, to } = this.ends[0].out;
    return (from === a && to === b) || (from === b && to === a);
  }
  /** Both ends hear of it, each after the network's delay; frames under way are lost. */
  break(message: string): void {
    for (const end of this.ends) end.out.cutOff({ kind: "broken", message });
  }
  crashed(host: string, silent: boolean): void {
    for (const end of this.ends) if (end.out.from === host) end.die(silent);
  }
  released(): void {
    for (const end of this.ends) end.out.release();
  }
  sent(frame: Uint8Array, on: Direction): void {
    if (this.network.chance(this.network.breakChance)) return this.break("connection reset");
    on.put({ frame });
    if (this.network.chance(this.network.duplicateChance)) on.put({ frame });
  }
  /** An end has heard the end: with both gone, so is the pair. */
  ended(): void {
    if (this.ends.every((end) => end.over)) this.network.forget(this);
  }
}

class End implements Link {
  over = false;

  constructor(
    private readonly pair: Pair,
    readonly remote: string,
    private handlers: LinkHandlers | undefined,
    readonly out: Direction,
  ) {}

  send(frame: Uint8Array): void {
    if (!this.over) this.pair.sent(frame, this.out);
  }
  close(): Promise<void> {
    this.out.put({ end: { kind: "closed", message: "closed by the peer" } });
    this.finish();
    return Promise.resolve();
  }
  abort(): void {
    if (this.over) return;
    this.out.put({ end: { kind: "broken", message: "connection reset" } });
    this.finish();
  }

  accept(handlers: LinkHandlers): void {
    this.handlers = handlers;
  }
  refuse(failure: LinkFailure): void {
    this.out.put({ end: failure });
    this.finish();
  }
  arrive(item: Item): void {
    if ("act" in item) {
      if (!this.over) item.act();
      return;
    }
    if (this.over) return;
    if ("frame" in item) return this.handlers?.onFrame(item.frame);
    const { handlers } = this;
    this.out.close();
    this.finish();
    handlers?.onEnd(item.end);
  }
  /** Its process is gone; its kernel says so, unless the machine went too. */
  die(silent: boolean): void {
    if (silent) this.out.close();
    else this.out.cutOff({ kind: "broken", message: "connection reset" });
    this.finish();
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    this.handlers = undefined;
    this.pair.ended();
  }
}
