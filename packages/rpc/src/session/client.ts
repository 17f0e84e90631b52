// The caller's side of a service on one session: one function per method, made once.
import type { CallDef, CallOptions, Client, OneWayDef, ServiceDef, WireMethod } from "@tray/protocol";

export interface ClientHost {
  call(method: WireMethod, def: CallDef<unknown, unknown>, request: unknown, options: CallOptions | undefined): Promise<unknown>;
  tell(method: WireMethod, def: OneWayDef<unknown>, message: unknown): void;
}

export function makeClient<S extends ServiceDef>(service: S, host: ClientHost): Client<S> {
  const client: Record<string, unknown> = {};
  for (const [name, method] of Object.entries(service.wire)) {
    const { def } = method;
    client[name] =
      def.kind === "call"
        ? (request: unknown, options?: CallOptions): Promise<unknown> => host.call(method, def, request, options)
        : (message: unknown): void => host.tell(method, def, message);
  }
  return client as Client<S>;
}
