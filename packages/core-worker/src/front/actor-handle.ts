// Actor classes and handles.
import type { PackedArguments } from "./arguments.js";
import { newActorIdFrom } from "./ids.js";
import { fromCaller, publicError } from "./errors.js";
import type { ObjectRef, OwnerAddress } from "./object-ref.js";
import type { ObjectRefGenerator } from "./object-ref-generator.js";
import {
  type ActorOptions,
  checkMethodOptions,
  isGeneratorFunction,
  type MethodOptions,
  type ResolvedActor,
  resolveActorOptions,
} from "./options.js";
import { argumentRefusal, shipClasses, shipFunction } from "./remote-function.js";
import type { Runtime } from "./runtime.js";

export const actorHandleBrand: unique symbol = Symbol.for("tray.ActorHandle") as never;
export const actorInfo: unique symbol = Symbol.for("tray.actorInfo") as never;

type AnyClass = new (...args: never[]) => object;

/** What a handle says of its actor when it travels. */
export interface ActorDescription {
  readonly actorId: string;
  readonly className: string;
  readonly methods: readonly string[];
  /** Those of `methods` that are generators. */
  readonly streams: readonly string[];
  readonly maxTaskRetries: number;
  readonly maxPendingCalls: number;
  readonly owner: OwnerAddress;
}

/** Names of methods that a handle of the class offers, and of those of them that are generators. */
export function methodsOf(cls: AnyClass): { methods: string[]; streams: string[] } {
  const names = new Map<string, boolean>();
  for (
    let proto: object | null = cls.prototype as object;
    proto !== null && proto !== Object.prototype;
    proto = Object.getPrototypeOf(proto) as object | null
  ) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (name === "constructor" || typeof descriptor.value !== "function" || names.has(name)) continue;
      names.set(name, isGeneratorFunction(descriptor.value));
    }
  }
  return { methods: [...names.keys()], streams: [...names].flatMap(([name, isGenerator]) => (isGenerator ? [name] : [])) };
}

/** Counts as a handle: an object whose slot keeps the actor alive. Slot 0: a handle from getActor, which does not. */
export class HandleState {
  private readonly templates = new Map<string, { id: number; numReturns: number; streaming: boolean }>();
  private pendingCalls = 0;
  readonly owner: OwnerAddress | undefined;
  readonly isReleased = false;

  constructor(
    readonly runtime: Runtime,
    readonly slot: number,
    readonly description: ActorDescription,
  ) {
    this.owner = description.owner;
  }

  toString(): string {
    return `ActorHandle(${this.description.className}, ${this.description.actorId})`;
  }

  call(method: string, args: readonly unknown[], options: MethodOptions): unknown {
    const { runtime, description } = this;
    const key = options === noOptions ? method : `${method}|${JSON.stringify(options, (_, v: unknown) => (typeof v === "function" ? v.name : v))}`;
    let template = this.templates.get(key);
    if (template === undefined) {
      const checked = checkMethodOptions(options);
      const returns = checked.returns(description.streams.includes(method));
      template = { id: runtime.takeTemplate(), numReturns: returns.numReturns, streaming: returns.streaming === true };
      runtime.core.defineTemplate(template.id, {
        functionId: "",
        name: options.name ?? `${description.className}.${method}`,
        ...returns,
        resources: {},
        maxRetries: checked.maxTaskRetries ?? description.maxTaskRetries,
        retryExceptions: checked.retries.always,
        retryClassesId: shipClasses(runtime, checked.retries.classes),
        actorId: description.actorId,
        method,
        concurrencyGroup: options.concurrencyGroup,
      });
      this.templates.set(key, template);
    }
    const limited = description.maxPendingCalls > 0;
    if (limited && this.pendingCalls >= description.maxPendingCalls) {
      throw publicError("PENDING_CALLS_LIMIT_EXCEEDED", `${this.toString()} has ${this.pendingCalls} calls not yet answered, its maxPendingCalls`, {
        hint: "await some before calling again",
      });
    }
    let refs: ObjectRef<unknown>[];
    try {
      if (template.streaming) {
        const items = runtime.submitStream(template.id, args, this.slot);
        if (limited) this.countPending(items);
        return items;
      }
      refs = runtime.submit(template.id, template.numReturns, args, this.slot);
    } catch (error) {
      throw argumentRefusal(runtime, error, `${description.className}.${method}`, args);
    }
    if (limited) this.countPending(refs[0]);
    return template.numReturns === 1 ? refs[0] : template.numReturns === 0 ? undefined : refs;
  }

  private countPending(ref: ObjectRef<unknown> | ObjectRefGenerator<unknown> | undefined): void {
    if (ref === undefined) return;
    this.pendingCalls++;
    const answered = (): void => {
      this.pendingCalls--;
    };
    this.runtime.wait([ref], 1, undefined, false).then(answered, answered);
  }
}

const noOptions: MethodOptions = Object.freeze({});

/** What handles are instances of: it is how the codec and `console.log` tell them from plain objects. */
class ActorHandle {
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return String(handleStateOf(this));
  }
}

/** The handle object that users hold: one property per method. */
export function makeHandle(runtime: Runtime, slot: number, description: ActorDescription): object {
  const state = new HandleState(runtime, slot, description);
  const handle = new ActorHandle();
  for (const method of description.methods) {
    const bound = (given: MethodOptions): object => {
      const remote = (...args: unknown[]): unknown => {
        try {
          return state.call(method, args, given);
        } catch (error) {
          throw fromCaller(error, remote);
        }
      };
      const options = (more: MethodOptions): object => {
        try {
          checkMethodOptions(more);
        } catch (error) {
          throw fromCaller(error, options);
        }
        return bound({ ...given, ...more });
      };
      return { remote, options };
    };
    Object.defineProperty(handle, method, { value: bound(noOptions), enumerable: true });
  }
  Object.defineProperty(handle, actorInfo, { value: { id: description.actorId } });
  Object.defineProperty(handle, actorHandleBrand, { value: state });
  if (slot !== 0) runtime.track(handle, slot);
  return handle;
}

export function handleStateOf(value: unknown): HandleState | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  return (value as Record<symbol, HandleState | undefined>)[actorHandleBrand];
}

export class ActorClassCore {
  private readonly resolved: ResolvedActor;

  constructor(
    private readonly current: () => Runtime,
    /** Assigned late where a class refers to itself and is just being read. */
    public cls: AnyClass,
    readonly given: ActorOptions,
  ) {
    this.resolved = resolveActorOptions(given);
  }

  private pack(runtime: Runtime, args: readonly unknown[]): PackedArguments {
    try {
      return runtime.packArguments(args);
    } catch (error) {
      throw argumentRefusal(runtime, error, `new ${this.cls.name || "(anonymous class)"}`, args);
    }
  }

  create(args: readonly unknown[]): object {
    const runtime = this.current();
    const { resolved } = this;
    const functionId = shipFunction(runtime, this.cls as unknown as (...args: never[]) => unknown);
    const packed = this.pack(runtime, args);
    const slot = runtime.holdings.takeSlot();
    const actorId = newActorIdFrom(runtime.currentJobId);
    const { methods, streams } = methodsOf(this.cls);
    const className = this.cls.name || "anonymous";
    runtime.core.createActor(
      slot,
      {
        actorId,
        className,
        functionId,
        name: resolved.name,
        namespace: resolved.namespace ?? runtime.currentNamespace,
        getIfExists: resolved.getIfExists,
        detached: resolved.detached,
        placementResources: resolved.placement,
        lifetimeResources: resolved.lifetime,
        strategy: resolved.strategy,
        labelSelector: resolved.labelSelector,
        maxRestarts: resolved.maxRestarts,
        maxTaskRetries: resolved.maxTaskRetries,
        maxConcurrency: resolved.maxConcurrency,
        concurrencyGroups: resolved.concurrencyGroups,
        maxPendingCalls: resolved.maxPendingCalls,
        methods,
        streams,
      },
      packed.bytes,
      packed.argSlots,
      packed.heldSlots,
    );
    for (const ref of packed.temporary) ref.release();
    return makeHandle(runtime, slot, {
      actorId,
      className,
      methods,
      streams,
      maxTaskRetries: resolved.maxTaskRetries,
      maxPendingCalls: resolved.maxPendingCalls,
      owner: runtime.self,
    });
  }
}
