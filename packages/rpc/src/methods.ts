// MethodTable: what this endpoint serves, by wire id. The same on every session, incoming and outgoing.
import { invariant, type Metrics } from "@tray/common";
import type { MethodDef, ServiceDef } from "@tray/protocol";
import type { CallContext, Handlers } from "./session/session.js";

export interface ServedMethod {
  readonly wireName: string;
  readonly def: MethodDef;
  readonly handler: (message: unknown, context: CallContext) => unknown;
  handled: number;
  failed: number;
}

export class MethodTable {
  private readonly byId = new Map<number, ServedMethod>();
  constructor(private readonly metrics: Metrics) {}

  add<S extends ServiceDef>(service: S, handlers: Handlers<S>): void {
    for (const [name, wire] of Object.entries(service.wire)) {
      const taken = this.byId.get(wire.wireId);
      invariant(taken === undefined, () => `${wire.wireName} is served twice, or its wire id collides with that of ${taken?.wireName}`);
      // Typed by Handlers<S> at the caller; here all methods are alike.
      const handler = (handlers as unknown as Record<string, ServedMethod["handler"]>)[name];
      invariant(typeof handler === "function", () => `no handler for ${wire.wireName}`);
      const served: ServedMethod = { wireName: wire.wireName, def: wire.def, handler: handler.bind(handlers), handled: 0, failed: 0 };
      this.byId.set(wire.wireId, served);
      this.metrics.gauge("tray_rpc_handled_total", () => served.handled, { method: wire.wireName });
      this.metrics.gauge("tray_rpc_failed_total", () => served.failed, { method: wire.wireName });
    }
  }

  get(wireId: number): ServedMethod | undefined {
    return this.byId.get(wireId);
  }
}
