// GcsLink: this node's word to the GCS.
//
// Owns:     the session with the GCS, registration, heartbeats, reports that must arrive.
// Not mine: what is reported (GcsLinkHost), what the GCS asks of us (raylet.ts serves it).
//
// Invariants
//   G1. On every fresh session the node registers first, under the same id; heartbeats go out only while registered.
//   G2. A report that must arrive is repeated until the GCS has acknowledged it, over any number of its restarts.
//   G3. A node that was declared dead, or whose GCS stayed away for gcsReconnectTimeout, ends: onFatal, once.
import { deferred, invariant, isTrayError, type Timer, TrayError } from "@tray/common";
import { type Client, GcsService, type Heartbeat, type NodeInfo, type RegisterNodeReply, resourcesKey } from "@tray/protocol";
import type { Endpoint, Session } from "@tray/rpc";
import type { RayletEnvironment } from "../node.js";

export interface GcsLinkHost {
  nodeInfo(): NodeInfo;
  heartbeat(): Omit<Heartbeat, "nodeId" | "sequence">;
  /** The GCS knows this node now (again): `reply` holds the view; live actors are to be reported. */
  registered(reply: RegisterNodeReply): void;
  /** This node cannot go on. */
  fatal(error: TrayError): void;
}

const reportSoonMs = 20;
const watchPeriodMs = 1_000;
const firstRegistrationMs = 15_000;
const reportsPendingMax = 100_000;

export class GcsLink {
  private session: Session | undefined;
  private gcsClient: Client<typeof GcsService> | undefined;
  private readonly first = deferred();
  private registeredNow = false;
  private registering: AbortController | undefined;
  private sequence = 0;
  private lastDigest = "";
  private soon: Timer | undefined;
  private downSinceMs: number | undefined;
  private readonly timers: Timer[] = [];
  private reports = 0;
  private closed = false;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly endpoint: Endpoint,
    readonly address: string,
    private readonly host: GcsLinkHost,
  ) {
    this.first.promise.catch(() => undefined); // awaited by start() only
  }

  /** Resolves at the first registration. @throws AUTHENTICATION, VERSION_MISMATCH, CONNECTION, NODE_DIED: this node cannot join. */
  async start(): Promise<void> {
    const { clock, config } = this.env;
    const session = this.endpoint.connect(this.address, { reconnect: "forever" });
    this.session = session;
    this.gcsClient = session.client(GcsService);
    session.onFresh(() => void this.register());
    session.onLost((error) => this.fail(error));
    session.opened().catch((error: unknown) => this.fail(toTrayError(error)));
    this.timers.push(clock.every(config.heartbeatInterval, () => this.beat()));
    this.timers.push(clock.every(watchPeriodMs, () => this.watch()));
    const tooLate = clock.after(firstRegistrationMs, () => {
      this.fail(
        new TrayError("CONNECTION", `the GCS at ${this.address} did not answer within ${firstRegistrationMs / 1000} s`, {
          hint: "is it running, is the address right, and is the port reachable from this machine?",
        }),
      );
    });
    await this.first.promise.finally(() => tooLate.cancel());
  }

  /** Usable from start() on. */
  get client(): Client<typeof GcsService> {
    invariant(this.gcsClient !== undefined, "the GCS is spoken to before start()");
    return this.gcsClient;
  }

  /** True while the GCS can be asked with a prospect of an answer. */
  get up(): boolean {
    return this.session?.state === "up" && this.registeredNow;
  }

  /** The load may have changed: the next heartbeat goes out soon, with all that changes in the next few milliseconds, if the cluster would act on it. */
  reportSoon(): void {
    if (this.soon !== undefined || this.closed) return;
    this.soon = this.env.clock.after(reportSoonMs, () => {
      this.soon = undefined;
      if (this.up && this.digestOf(this.host.heartbeat()) !== this.lastDigest) this.beat();
    });
  }

  /** What matters to schedulers: availability exactly, queues by order of magnitude. */
  private digestOf({ available, load }: Pick<Heartbeat, "available" | "load">): string {
    const queues = load.map(({ shape, queued, wait }) => `${resourcesKey(shape?.amounts ?? {})}×${Math.ceil(Math.log2(queued + 1))}${wait?.cause}`);
    return `${resourcesKey(available?.amounts ?? {})}|${queues.join("|")}`;
  }

  /**
   * G2. Sends a report until it is acknowledged. Resolves with the error when the GCS refused it for good (NOT_FOUND, CONFLICT, …: it knows better),
   * with undefined when it was taken or this node is closing.
   */
  async report(what: string, send: (options: { retry: true; timeoutMs: 0 }) => Promise<unknown>): Promise<TrayError | undefined> {
    if (this.reports >= reportsPendingMax) {
      this.env.logger.error("too many reports wait for the GCS: one is dropped", { what });
      return undefined;
    }
    this.reports++;
    try {
      for (;;) {
        try {
          await send({ retry: true, timeoutMs: 0 });
          return undefined;
        } catch (error) {
          if (this.closed) return undefined;
          const failure = toTrayError(error);
          if (!failure.retryable) {
            this.env.logger.warn("the GCS refused a report", { what, code: failure.code, error: failure.message });
            return failure;
          }
          await new Promise<void>((resolve) => void this.env.clock.after(200, resolve));
          if (this.closed) return undefined;
        }
      }
    } finally {
      this.reports--;
    }
  }

  /** Says goodbye: the node is dead at once for the cluster, not after a timeout. */
  async close(reason: string): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    for (const timer of this.timers) timer.cancel();
    this.soon?.cancel();
    if (this.up) {
      await this.client.unregisterNode({ nodeId: this.env.node.nodeId, reason }, { timeoutMs: 1000 }).catch(() => undefined); // the GCS will notice by itself
    }
    this.session?.close(reason);
  }

  /** G1 */
  private async register(): Promise<void> {
    this.registeredNow = false;
    this.registering?.abort(new TrayError("UNAVAILABLE", "a newer session registers"));
    const attempt = new AbortController();
    this.registering = attempt;
    try {
      const reply = await this.client.registerNode({ node: this.host.nodeInfo() }, { timeoutMs: 0, retry: true, signal: attempt.signal });
      if (this.closed || attempt.signal.aborted) return;
      this.registeredNow = true;
      this.downSinceMs = undefined;
      this.host.registered(reply);
      this.beat();
      this.first.resolve();
    } catch (error) {
      const failure = toTrayError(error);
      if (this.closed || failure.code === "UNAVAILABLE") return; // the next fresh session registers
      this.fail(failure);
    }
  }

  private beat(): void {
    if (!this.up || this.closed) return;
    const load = this.host.heartbeat();
    this.lastDigest = this.digestOf(load);
    this.client.heartbeat({ nodeId: this.env.node.nodeId, sequence: ++this.sequence, ...load });
  }

  /** G3 */
  private watch(): void {
    if (this.session?.state === "up") {
      this.downSinceMs = undefined;
      return;
    }
    this.downSinceMs ??= this.env.clock.now();
    const downMs = this.env.clock.now() - this.downSinceMs;
    if (downMs < this.env.config.gcsReconnectTimeout) return;
    this.fail(new TrayError("CONNECTION", `the GCS at ${this.address} has been away for ${Math.round(downMs / 1000)} s (gcsReconnectTimeout)`));
  }

  private fail(error: TrayError): void {
    if (this.closed) return;
    this.first.reject(error);
    this.host.fatal(error);
  }
}

function toTrayError(error: unknown): TrayError {
  return isTrayError(error) ? error : new TrayError("SYSTEM", error instanceof Error ? error.message : String(error), { cause: error });
}
