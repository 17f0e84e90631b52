// Typed services: plain records over message codecs, from which handlers (server side) and clients (caller side) take their types.
// A session (@tray/rpc) carries them; nothing here sends anything. The codec shape is the one that ts-proto generates.
import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { invariant } from "@tray/common";

/** Encoder and decoder of one message type. Method syntax on purpose: it makes `MessageCodec<Foo>` a `MessageCodec<unknown>`. */
export interface MessageCodec<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): T;
}

/** A method with a reply. `idempotent`: the handler recognises a repeated request by an id in it, so a caller may ask for `retry`. */
export interface CallDef<Q, R> {
  readonly kind: "call";
  readonly request: MessageCodec<Q>;
  readonly reply: MessageCodec<R>;
  readonly idempotent: boolean;
}

/** A message without a reply: delivered exactly once and in order, or the session is lost. */
export interface OneWayDef<Q> {
  readonly kind: "oneWay";
  readonly message: MessageCodec<Q>;
}

export type MethodDef = CallDef<unknown, unknown> | OneWayDef<unknown>;

/** A method of a service with its wire identity. */
export interface WireMethod {
  /** "raylet/createActor": what logs, metrics and fault plans call it. */
  readonly wireName: string;
  /** 32-bit hash of the wire name: what envelopes carry. */
  readonly wireId: number;
  readonly def: MethodDef;
}

export interface ServiceDef<T extends Record<string, MethodDef> = Record<string, MethodDef>> {
  readonly name: string;
  readonly methods: T;
  /** The same methods with their wire identities, by method name. */
  readonly wire: { readonly [K in keyof T]: WireMethod };
}

export type PeerKind = "raylet" | "gcs" | "driver" | "worker" | "dashboard" | "cli" | "autoscaler";

/** Who is at the other end of a session; both ends say it in their first frame. */
export interface PeerInfo {
  readonly kind: PeerKind;
  /** Node, worker or process id; with `kind` it names one place in the cluster. */
  readonly id: string;
  /** New for every start of the process: the same id under another incarnation is another life. */
  readonly incarnation: string;
  /** "host:port" where it accepts sessions, if it does. */
  readonly address?: string | undefined;
  /** tray's version; both ends must run the same. */
  readonly version: string;
  /** "20.20.2"; the major must agree among processes that exchange values (drivers and workers). */
  readonly nodeVersion: string;
  readonly clusterId?: string | undefined;
}

/** What every handler learns about a call. @tray/rpc's `CallContext` adds the session. */
export interface CallContext {
  readonly peer: PeerInfo;
  /** Aborts when the caller cancels, passes its deadline, or its session is lost. */
  readonly signal: AbortSignal;
}

export interface CallOptions {
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED. Default 30 000; 0 = no deadline. */
  timeoutMs?: number | undefined;
  /** Send again after a reset of the session or an injected loss, until the deadline. Refused for methods defined `idempotent: false`. */
  retry?: boolean | undefined;
  /** Aborting rejects the call with the signal's reason and aborts the handler's `signal`. */
  signal?: AbortSignal | undefined;
}

/** One function per method of service `S`; a missing one does not compile. Replies may be values or promises. */
export type Handlers<S extends ServiceDef, Context extends CallContext = CallContext> = {
  readonly [K in keyof S["methods"]]: S["methods"][K] extends CallDef<infer Q, infer R>
    ? (request: Q, context: Context) => R | Promise<R>
    : S["methods"][K] extends OneWayDef<infer Q>
      ? (message: Q, context: Context) => void
      : never;
};

/** The caller's side of service `S`. Functions do not use `this`. One-way methods return at once. */
export type Client<S extends ServiceDef> = {
  readonly [K in keyof S["methods"]]: S["methods"][K] extends CallDef<infer Q, infer R>
    ? (request: Q, options?: CallOptions) => Promise<R>
    : S["methods"][K] extends OneWayDef<infer Q>
      ? (message: Q) => void
      : never;
};

/** Defines a method with a reply. `idempotent` defaults to true, the rule of this system (docs/decisions/0001); say false where a repeat does harm. */
export function method<Q, R>(request: MessageCodec<Q>, reply: MessageCodec<R>, options: { idempotent?: boolean } = {}): CallDef<Q, R> {
  return { kind: "call", request, reply, idempotent: options.idempotent ?? true };
}

/** Defines a message without a reply. */
export function oneWay<Q>(message: MessageCodec<Q>): OneWayDef<Q> {
  return { kind: "oneWay", message };
}

/**
 * Names a record of methods. Wire ids are hashes of the names, so peers need no table exchange and adding a method changes no other
 * id; a collision is refused here within a service, and by the endpoint between the services that it offers.
 */
export function defineService<T extends Record<string, MethodDef>>(name: string, methods: T): ServiceDef<T> {
  const wire: Record<string, WireMethod> = {};
  const seen = new Map<number, string>();
  for (const [key, def] of Object.entries(methods)) {
    const wireName = `${name}/${key}`;
    const wireId = wireIdOf(wireName);
    invariant(!seen.has(wireId), () => `wire id of ${wireName} collides with ${seen.get(wireId)}: rename one`);
    seen.set(wireId, wireName);
    wire[key] = { wireName, wireId, def };
  }
  return { name, methods, wire: wire as ServiceDef<T>["wire"] };
}

/** FNV-1a, 32 bit (Fowler, Noll, Vo), over the UTF-16 code units of an ASCII name. */
export function wireIdOf(wireName: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < wireName.length; i++) hash = Math.imul(hash ^ wireName.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
