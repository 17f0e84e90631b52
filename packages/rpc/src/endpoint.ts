// Endpoint: a process's one point of contact. Sessions, incoming and outgoing, share its methods, limits, timers and writers.
import { type Clock, deferred, type Logger, type Metrics, type Random, type Timer } from "@tray/common";
import type { PeerInfo, ServiceDef } from "@tray/protocol";
import { Deadlines } from "./deadlines.js";
import type { FaultPlan } from "./faults.js";
import { FrameWriter } from "./frame.js";
import { type Limits, resolveLimits } from "./limits.js";
import { MethodTable } from "./methods.js";
import { Acceptor } from "./session/acceptor.js";
import { Dialer } from "./session/dialer.js";
import { noTraffic, type SessionEnvironment, type Traffic } from "./session/environment.js";
import type { SessionHost } from "./session/host.js";
import type { ConnectOptions, Handlers, Session, SessionState } from "./session/session.js";
import type { Listener, Transport } from "./transport.js";

export interface EndpointOptions {
  transport: Transport;
  clock: Clock;
  random: Random;
  logger: Logger;
  metrics: Metrics;
  self: PeerInfo;
  /** The cluster's token: demanded of those who come, shown to those who are dialled. None = no authentication. */
  token?: string | undefined;
  limits?: Partial<Limits> | undefined;
  faults?: FaultPlan | undefined;
  /** A handler broke an invariant. Default: thrown in a turn of its own, which ends the process. */
  onBug?: ((error: unknown) => void) | undefined;
}

/** Writers kept for reuse, and how large one may be to be kept. */
const idleWritersMax = 8;
const idleWriterBytesMax = 1024 * 1024;

const wildcard = /^(0\.0\.0\.0|\[::\]):/;

export class Endpoint {
  private readonly env: SessionEnvironment;
  private readonly methods: MethodTable;
  private readonly deadlines: Deadlines;
  private readonly acceptor: Acceptor;
  private readonly dialers = new Set<Dialer>();
  private readonly ending = new Set<Promise<void>>();
  private readonly sessionFns: ((session: Session) => void)[] = [];
  private readonly idleWriters: FrameWriter[] = [];
  private readonly traffic = noTraffic();
  private dirty: { flush(): void }[] = [];
  private flushArmed = false;
  private listeners: Listener[] = [];
  private self: PeerInfo;
  private readonly sweeper: Timer;
  private closing: Promise<void> | undefined;

  constructor(private readonly options: EndpointOptions) {
    const { clock, random, logger, metrics } = options;
    const limits = resolveLimits(options.limits);
    this.self = options.self;
    this.methods = new MethodTable(metrics);
    this.deadlines = new Deadlines(clock);
    const endpoint = this;
    this.env = {
      clock,
      random,
      logger,
      limits,
      faults: options.faults,
      methods: this.methods,
      deadlines: this.deadlines,
      traffic: this.traffic,
      get self(): PeerInfo {
        return endpoint.self;
      },
      takeWriter: () => this.idleWriters.pop() ?? new FrameWriter(),
      giveWriter: (writer) => {
        if (this.idleWriters.length < idleWritersMax && writer.capacity <= idleWriterBytesMax) this.idleWriters.push(writer);
      },
      flushLater: (session) => {
        this.dirty.push(session);
        if (this.flushArmed) return;
        this.flushArmed = true;
        // Not clock.endOfTurn: that is setImmediate, and what is written there reaches the socket one round of the event loop later (bench:
        // ping-pong 1.1 times a bare stream's against 1.3). A tick comes when the present callback and its promises are done; batches are the same.
        process.nextTick(this.flushDirty);
      },
      onBug: options.onBug ?? endProcess,
    };
    const ended = (session: SessionHost): void => this.awaitRelease(session);
    this.acceptor = new Acceptor(this.env, options.token, (session) => this.announce(session), ended);
    this.sweeper = clock.every(limits.silenceMs / 3, () => {
      for (const session of this.sessions()) session.sweep();
    });
    this.publish(metrics);
  }

  /**
   * Accepts sessions at "host:port"; port 0 picks one. Returns the bound address, which also becomes this process's address in what
   * it tells its peers, unless `self.address` was given or it is a wildcard. Rejects with CONNECTION when it cannot be bound.
   */
  async listen(address: string): Promise<string> {
    const listener = await this.options.transport.listen(address, this.acceptor.accept);
    this.listeners.push(listener);
    if (this.self.address === undefined && !wildcard.test(listener.address)) this.self = { ...this.self, address: listener.address };
    return listener.address;
  }

  /** Offers a service on every session, incoming and outgoing, present and future. Once per service. */
  serve<S extends ServiceDef>(service: S, handlers: Handlers<S>): void {
    this.methods.add(service, handlers);
  }

  /** `fn` runs for each incoming peer after authentication and version check, before any message of it is handled. */
  onSession(fn: (session: Session) => void): void {
    this.sessionFns.push(fn);
  }

  /** Opens a session; returns at once. Sending is possible right away: it leaves when the session is up. */
  connect(address: string, options: ConnectOptions): Session {
    const dialer = new Dialer(this.env, this.options.transport, address, this.options.token, options, (ended) => {
      this.dialers.delete(ended);
      this.awaitRelease(ended.session);
    });
    if (this.closing !== undefined) {
      dialer.session.close("the endpoint is closed");
      return dialer.session;
    }
    this.dialers.add(dialer);
    dialer.start();
    return dialer.session;
  }

  /** Changes what later handshakes say about this process (its cluster, once known; its address behind a proxy). */
  describeSelf(change: Partial<Pick<PeerInfo, "address" | "clusterId">>): void {
    this.self = { ...this.self, ...change };
  }

  /** Says goodbye on every session, stops listening. Resolves when what was sent has left, or soon after `limits.goodbyeMs`. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.doClose();
    return this.closing;
  }

  private async doClose(): Promise<void> {
    this.sweeper.cancel();
    this.acceptor.close();
    for (const session of this.sessions()) session.close("the process ends");
    const late = deferred(); // a link that neither closes nor aborts
    const timer = this.options.clock.after(this.env.limits.goodbyeMs * 1.5, late.resolve);
    await Promise.race([Promise.all([...this.ending]), late.promise]);
    timer.cancel();
    await Promise.all(this.listeners.map((listener) => listener.close()));
    this.deadlines.close();
  }

  private sessions(): SessionHost[] {
    return [...this.acceptor.all(), ...[...this.dialers].map((dialer) => dialer.session)];
  }

  private announce(session: Session): void {
    for (const fn of this.sessionFns) fn(session);
  }

  private awaitRelease(session: SessionHost): void {
    const release = session.released.finally(() => this.ending.delete(release));
    this.ending.add(release);
  }

  private readonly flushDirty = (): void => {
    this.flushArmed = false;
    const { dirty } = this;
    this.dirty = [];
    for (const session of dirty) session.flush();
  };

  private publish(metrics: Metrics): void {
    const names: Record<keyof Traffic, string> = {
      messagesSent: "tray_rpc_messages_sent_total",
      messagesReceived: "tray_rpc_messages_received_total",
      framesSent: "tray_rpc_frames_sent_total",
      framesReceived: "tray_rpc_frames_received_total",
      framesResent: "tray_rpc_resumes_with_resending_total",
      bytesSent: "tray_rpc_bytes_sent_total",
      bytesReceived: "tray_rpc_bytes_received_total",
      duplicatesDropped: "tray_rpc_duplicate_frames_total",
      linksBroken: "tray_rpc_links_broken_total",
      resets: "tray_rpc_session_resets_total",
      refusedForQueue: "tray_rpc_queue_full_total",
      injectedFaults: "tray_rpc_injected_faults_total",
    };
    for (const [key, name] of Object.entries(names)) metrics.gauge(name, () => this.traffic[key as keyof Traffic]);
    for (const state of ["connecting", "up", "broken"] satisfies SessionState[]) {
      metrics.gauge("tray_rpc_sessions", () => this.sessions().filter((session) => session.state === state).length, { state });
    }
    metrics.gauge("tray_rpc_unacknowledged_bytes", () => this.sessions().reduce((sum, session) => sum + session.keptBytes, 0));
  }
}

function endProcess(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
