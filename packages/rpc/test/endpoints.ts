// Endpoints for tests, with a log of what PingService received.
import { type Logger, Metrics, SeededRandom, silentLogger } from "@tray/common";
import type { PeerInfo } from "@tray/protocol";
import { Endpoint, type EndpointOptions } from "../src/endpoint.js";
import type { CallContext, Handlers } from "../src/session/session.js";
import { type Note, PingService } from "./ping-service.js";
import type { World } from "./worlds.js";

export interface TestEndpoint {
  readonly endpoint: Endpoint;
  readonly metrics: Metrics;
  /** Numbers that `tell` received, in order. */
  readonly told: number[];
  /** Resolves when `tell` has received `n`. */
  hears(n: number): Promise<void>;
  metric(name: string): number;
}

type PingHandlers = Handlers<typeof PingService>;

let seed = 1;

export function testEndpoint(
  world: World,
  self: PeerInfo,
  options: Partial<EndpointOptions> & { handlers?: Partial<PingHandlers>; logger?: Logger } = {},
): TestEndpoint {
  const { handlers, ...rest } = options;
  const metrics = new Metrics();
  const endpoint = new Endpoint({
    transport: world.transport(self.id),
    clock: world.clock,
    random: new SeededRandom(seed++),
    logger: silentLogger,
    metrics,
    self,
    ...rest,
  });
  const told: number[] = [];
  const waiting: { n: number; resolve: () => void }[] = [];
  endpoint.serve(PingService, {
    echo: (request: Note) => request,
    once: (request: Note) => request,
    tell: (message: Note, context: CallContext) => {
      told.push(message.n);
      for (const w of waiting) if (w.n === message.n) w.resolve();
      return handlers?.tell?.(message, context);
    },
    ...(handlers?.echo === undefined ? {} : { echo: handlers.echo }),
    ...(handlers?.once === undefined ? {} : { once: handlers.once }),
  });
  return {
    endpoint,
    metrics,
    told,
    hears: (n) => (told.includes(n) ? Promise.resolve() : new Promise((resolve) => waiting.push({ n, resolve }))),
    metric: (name) =>
      metrics
        .collect()
        .filter((s) => s.name === name)
        .reduce((sum, s) => sum + s.value, 0),
  };
}
