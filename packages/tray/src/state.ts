// The one connection of this process, and the remote functions' way to it.
//
// Invariants
//   P1. at most one connection at a time; a second init while one is open is refused.
//   P2. whoever needs a connection and has none gets one with the defaults, synchronously; after shutdown() an error.
//   P3. what was registered for a class holds for all connections, before and after.
import { systemClock, TrayError } from "@tray/common";
import {
  ActorClassCore,
  dispatchToUser,
  errors,
  extensions,
  type FirstWord,
  type Failure,
  fromCaller,
  type IoTask,
  type IoThread,
  publicError,
  RecordReader,
  RemoteFunctionCore,
  remoteFunctionBrand,
  Runtime,
  startIoThread,
  ThreadChannel,
  type ToUser,
  ToCoreSender,
  withoutCallers,
} from "@tray/core-worker";
import { SharedArena } from "@tray/object-store";
import { Codec, createModuleHost, type ModuleHost } from "@tray/serialization";
import type { TaskContext } from "@tray/worker-host";
import { dirname } from "node:path";

/** What a connection is to the API functions. */
export interface Link {
  readonly runtime: Runtime;
  /** Driver: ends the connection. */
  close(): Promise<void>;
  /** Facts beyond the runtime's: dashboard address, session. */
  readonly extra: Readonly<Record<string, unknown>>;
  /** Worker: the task whose code asks. */
  context(): TaskContext | undefined;
  readonly kind: "driver" | "worker";
}

interface Shared {
  link: Link | undefined;
  connecting: Promise<Link> | undefined;
  /** shutdown() was called and no init() since. */
  ended?: boolean;
  /** Registered in this process: every connection knows them, also those that are made later. */
  serializers?: Map<SerializableClass, ClassSerializer>;
}

type SerializableClass = abstract new (...args: never[]) => object;
interface ClassSerializer {
  serialize(value: object): unknown;
  deserialize(data: unknown): object;
}

// One state for all copies of this module in a process (ES module and CommonJS imports, hoisted duplicates).
const key = Symbol.for("tray.state");
const shared = ((globalThis as Record<symbol, unknown>)[key] ??= { link: undefined, connecting: undefined }) as Shared;

export const currentLink = (): Link | undefined => shared.link;

export function setLink(link: Link | undefined): void {
  shared.link = link;
}

/** P3. Modules register as they are loaded, which may be before init(). */
export function rememberSerializer(cls: SerializableClass, serializer: ClassSerializer): void {
  shared.link?.runtime.codec.registerSerializer(cls, serializer);
  shared.serializers ??= new Map();
  shared.serializers.set(cls, serializer);
}

let connectByDefault: () => Link = () => {
  throw new TrayError("SYSTEM", "the library is not complete");
};
export function onFirstUse(connect: () => Link): void {
  connectByDefault = connect;
}

/** shutdown() was called: from now on only init() connects. */
export function endLink(): void {
  shared.link = undefined;
  shared.ended = true;
}

/** The runtime of this process; connects with the defaults when there is none (P2). @throws after shutdown() */
export function runtime(): Runtime {
  if (shared.ended === true)
    throw new TrayError("INVALID_ARGUMENT", "tray was used after tray.shutdown()", { hint: "call tray.init() to connect again" });
  return (shared.link ?? connectByDefault()).runtime;
}

/** Only one connection attempt at a time. */
export async function connectOnce(connect: () => Promise<Link>): Promise<Link> {
  if (shared.link !== undefined || shared.connecting !== undefined) {
    throw new TrayError("CONFLICT", "tray.init() was called before in this process", { hint: "call tray.shutdown() first to connect anew" }); // P1
  }
  shared.connecting = connect();
  try {
    shared.link = await shared.connecting;
    shared.ended = false;
    return shared.link;
  } finally {
    shared.connecting = undefined;
  }
}

// ── remote functions and actor classes, as users see them ─────────────────────────────────────────────────────────────────────
type AnyFunction = (...args: never[]) => unknown;

interface RemoteThing {
  readonly [remoteFunctionBrand]: RemoteFunctionCore | ActorClassCore;
}

/** Classes, so that the codec tells them from plain objects; methods are bound, so that they may be taken off. */
class RemoteFunction {
  readonly [remoteFunctionBrand]: RemoteFunctionCore;
  function: AnyFunction;
  readonly remote: (...args: unknown[]) => unknown;
  readonly options: (more: object) => object;
  constructor(fn: AnyFunction, options: object) {
    const core = new RemoteFunctionCore(runtime, fn, options);
    this[remoteFunctionBrand] = core;
    this.function = fn;
    this.remote = (...args) => {
      try {
        return core.submit(args);
      } catch (error) {
        throw fromCaller(error, this.remote);
      }
    };
    this.options = (more) => {
      try {
        return new RemoteFunction(core.fn, { ...options, ...more });
      } catch (error) {
        throw fromCaller(error, this.options);
      }
    };
  }
  complete(fn: AnyFunction): void {
    this.function = fn;
    this[remoteFunctionBrand].fn = fn;
  }
}

class ActorClass {
  readonly [remoteFunctionBrand]: ActorClassCore;
  readonly remote: (...args: unknown[]) => unknown;
  readonly options: (more: object) => object;
  constructor(cls: Instantiable, options: object) {
    const core = new ActorClassCore(runtime, cls, options);
    this[remoteFunctionBrand] = core;
    this.remote = (...args) => {
      try {
        return core.create(args);
      } catch (error) {
        throw fromCaller(error, this.remote);
      }
    };
    this.options = (more) => {
      try {
        return new ActorClass(core.cls, { ...options, ...more });
      } catch (error) {
        throw fromCaller(error, this.options);
      }
    };
  }
}

type Instantiable = new (...args: never[]) => object;

export const makeRemoteFunction = (fn: AnyFunction, options: object): object => new RemoteFunction(fn, options);
export const makeActorClass = (cls: Instantiable, options: object): object => new ActorClass(cls, options);

/** True for `class` syntax; functions used as constructors count as functions. */
export function isClass(value: Function): boolean {
  return /^class[\s{]/.test(Function.prototype.toString.call(value));
}

const remoteFactory = {
  isRemoteFunction: (value: object): boolean => remoteFunctionBrand in value,
  partsOf: (value: object): { target: Function; options: object; kind: "task" | "actor" } => {
    const core = (value as RemoteThing)[remoteFunctionBrand];
    return core instanceof ActorClassCore
      ? { target: core.cls, options: core.given, kind: "actor" }
      : { target: core.fn, options: core.given, kind: "task" };
  },
  make: (kind: "task" | "actor", target: Function, options: object): object =>
    kind === "actor" ? makeActorClass(target as unknown as Instantiable, options) : makeRemoteFunction(target as AnyFunction, options),
  makeLater: (kind: "task" | "actor", options: object): { made: object; complete: (target: Function) => void } => {
    if (kind === "actor") {
      const made = new ActorClass(class {}, options);
      return {
        made,
        complete: (target) => {
          made[remoteFunctionBrand].cls = target as unknown as Instantiable;
        },
      };
    }
    const made = new RemoteFunction(() => undefined, options);
    return { made, complete: (target) => made.complete(target as AnyFunction) };
  },
};

// ── assembling the user's thread ──────────────────────────────────────────────────────────────────────────────────────────────
export interface UserThread {
  readonly io: IoThread;
  readonly channel: ThreadChannel;
  readonly core: ToCoreSender;
  /** The arena, for both kinds. */
  makeRuntime(
    word: Extract<FirstWord, { ok: true }>,
    modules: { workingDir: string; mainScript: string | undefined; wrap?: (host: ModuleHost) => ModuleHost },
  ): Runtime;
}

export function startUserThread(ioThreadFile: string, task: IoTask, user: ToUser, afterDrain: () => void): UserThread {
  const io = startIoThread(ioThreadFile, task);
  const reader = new RecordReader();
  const channel = new ThreadChannel(io.ports, (memory, start) => dispatchToUser(reader, memory, start, user), {
    mayBlock: true,
    clock: systemClock,
    afterDrain,
  });
  channel.unref();
  const core = new ToCoreSender(channel);
  return {
    io,
    channel,
    core,
    makeRuntime: (word, { workingDir, mainScript, wrap }) => {
      const host = createModuleHost({
        workingDir,
        ...(mainScript === undefined ? {} : { mainModule: mainScript }),
        fallbacks: {
          tray: ioThreadFile.replace(/io-thread\.cjs$/, "index.cjs"),
          "tray/util": ioThreadFile.replace(/io-thread\.cjs$/, "util.cjs"),
        },
      });
      const libraryDir = dirname(ioThreadFile);
      const stackOf = (error: Error): string | undefined => (typeof error.stack === "string" ? withoutCallers(error.stack, libraryDir) : undefined);
      const codec: Codec = new Codec({
        extensions: extensions(() => made, remoteFactory),
        modules: wrap?.(host) ?? host,
        inlineBufferMax: 256,
        stackOf,
      });
      for (const [cls, serializer] of shared.serializers ?? []) codec.registerSerializer(cls, serializer);
      const made = new Runtime(core, channel, codec, SharedArena.open(word.arena.path, word.arena.capacity), systemClock, word.connection);
      return made;
    },
  };
}

/** The error of a first word that tells of a failure. */
export function connectError(failure: Omit<Failure, "cause">): TrayError {
  return publicError(failure.code as "CONNECTION", failure.message, {
    ...(failure.hint === "" ? {} : { hint: failure.hint }),
    ...(failure.detailsJson === "" ? {} : { details: JSON.parse(failure.detailsJson) as Record<string, unknown> }),
  });
}

export { errors };
