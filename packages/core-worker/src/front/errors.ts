// The error classes of the public API, and their way back from the wire: by code, never by text.
import { type ErrorCode, isTrayError, TrayError, type TrayErrorOptions } from "@tray/common";
import type { Failure } from "../thread/to-user.js";

type ErrorClass = new (message: string, options?: TrayErrorOptions) => TrayError;

function errorClass(name: string, code: ErrorCode, base?: ErrorClass): ErrorClass {
  const Base = base ?? TrayError;
  const cls = class extends (Base as typeof TrayError) {
    constructor(...args: [string, TrayErrorOptions?] | [ErrorCode, string, TrayErrorOptions?]) {
      // Subclasses of subclasses pass their own code through.
      if (args.length > 1 && typeof args[1] === "string") super(args[0] as ErrorCode, args[1], args[2] as TrayErrorOptions);
      else super(code, args[0], args[1] as TrayErrorOptions | undefined);
      this.name = name;
    }
  };
  Object.defineProperty(cls, "name", { value: name });
  // By code as well: parts below this one, and other copies of this package, throw errors of the class's code that are not of its prototype.
  Object.defineProperty(cls, Symbol.hasInstance, {
    value(this: unknown, thrown: unknown): boolean {
      return (this === cls && isTrayError(thrown, code)) || (Function.prototype[Symbol.hasInstance] as (v: unknown) => boolean).call(this, thrown);
    },
  });
  return cls as unknown as ErrorClass;
}

/** The user's function threw. `cause` is the original error. */
export const TaskError = errorClass("TaskError", "TASK_ERROR");
export const WorkerCrashedError = errorClass("WorkerCrashedError", "WORKER_CRASHED");
export const ActorDiedError = errorClass("ActorDiedError", "ACTOR_DIED");
export const ActorUnavailableError = errorClass("ActorUnavailableError", "ACTOR_UNAVAILABLE");

/** Every copy of a value is gone. */
export class ObjectLostError extends TrayError {
  constructor(message: string, options?: TrayErrorOptions & { code?: ErrorCode }) {
    super(options?.code ?? "OBJECT_LOST", message, options);
    this.name = "ObjectLostError";
  }
}
/** The process that owned the object died, and its knowledge of the object with it. */
export class OwnerDiedError extends ObjectLostError {
  constructor(message: string, options?: TrayErrorOptions) {
    super(message, { ...options, code: "OWNER_DIED" });
    this.name = "OwnerDiedError";
  }
}
/**
 * A lost object could not be made again; the message says why. `details.reason`: "retries spent", "made by put", "lineage evicted" (`maxLineageBytes`),
 * "actor not restartable", "made by an actor's stream", "cancelled" or "switched off" (`enableObjectReconstruction`).
 */
export class ObjectReconstructionFailedError extends ObjectLostError {
  constructor(message: string, options?: TrayErrorOptions) {
    super(message, { ...options, code: "OBJECT_RECONSTRUCTION_FAILED" });
    this.name = "ObjectReconstructionFailedError";
  }
}
export class ObjectFreedError extends ObjectLostError {
  constructor(message: string, options?: TrayErrorOptions) {
    super(message, { ...options, code: "OBJECT_FREED" });
    this.name = "ObjectFreedError";
  }
}

export const GetTimeoutError = errorClass("GetTimeoutError", "GET_TIMEOUT");
export const TaskTimeoutError = errorClass("TaskTimeoutError", "TASK_TIMEOUT");
export const TaskCancelledError = errorClass("TaskCancelledError", "TASK_CANCELLED");
export const PendingCallsLimitExceededError = errorClass("PendingCallsLimitExceededError", "PENDING_CALLS_LIMIT_EXCEEDED");
export const ActorNotFoundError = errorClass("ActorNotFoundError", "ACTOR_NOT_FOUND");
export const NameTakenError = errorClass("NameTakenError", "NAME_TAKEN");
export const OutOfMemoryError = errorClass("OutOfMemoryError", "OUT_OF_MEMORY");
export const ObjectStoreFullError = errorClass("ObjectStoreFullError", "OBJECT_STORE_FULL");
export const OutOfDiskError = errorClass("OutOfDiskError", "OUT_OF_DISK");
export const RuntimeEnvSetupError = errorClass("RuntimeEnvSetupError", "RUNTIME_ENV_SETUP");
export const TaskUnschedulableError = errorClass("TaskUnschedulableError", "TASK_UNSCHEDULABLE");
export const ActorUnschedulableError = errorClass("ActorUnschedulableError", "ACTOR_UNSCHEDULABLE");
export const PlacementGroupError = errorClass("PlacementGroupError", "PLACEMENT_GROUP");
export const NodeDiedError = errorClass("NodeDiedError", "NODE_DIED");
export const SystemError = errorClass("SystemError", "SYSTEM");
export const SerializationError = errorClass("SerializationError", "SERIALIZATION");
export const ConnectionError = errorClass("ConnectionError", "CONNECTION");
export const AuthenticationError = errorClass("AuthenticationError", "AUTHENTICATION");
export const VersionMismatchError = errorClass("VersionMismatchError", "VERSION_MISMATCH");

const byCode: Partial<Record<ErrorCode, ErrorClass>> = {
  TASK_ERROR: TaskError,
  WORKER_CRASHED: WorkerCrashedError,
  ACTOR_DIED: ActorDiedError,
  ACTOR_UNAVAILABLE: ActorUnavailableError,
  OBJECT_LOST: ObjectLostError,
  OWNER_DIED: OwnerDiedError,
  OBJECT_RECONSTRUCTION_FAILED: ObjectReconstructionFailedError,
  OBJECT_FREED: ObjectFreedError,
  GET_TIMEOUT: GetTimeoutError,
  TASK_TIMEOUT: TaskTimeoutError,
  TASK_CANCELLED: TaskCancelledError,
  PENDING_CALLS_LIMIT_EXCEEDED: PendingCallsLimitExceededError,
  ACTOR_NOT_FOUND: ActorNotFoundError,
  NAME_TAKEN: NameTakenError,
  OUT_OF_MEMORY: OutOfMemoryError,
  OBJECT_STORE_FULL: ObjectStoreFullError,
  OUT_OF_DISK: OutOfDiskError,
  RUNTIME_ENV_SETUP: RuntimeEnvSetupError,
  TASK_UNSCHEDULABLE: TaskUnschedulableError,
  ACTOR_UNSCHEDULABLE: ActorUnschedulableError,
  PLACEMENT_GROUP: PlacementGroupError,
  NODE_DIED: NodeDiedError,
  SYSTEM: SystemError,
  SERIALIZATION: SerializationError,
  CONNECTION: ConnectionError,
  UNAVAILABLE: ConnectionError,
  AUTHENTICATION: AuthenticationError,
  VERSION_MISMATCH: VersionMismatchError,
};

/** The public error of a code. Codes without a class of their own stay plain TrayErrors. */
export function publicError(code: ErrorCode, message: string, options: TrayErrorOptions = {}): TrayError {
  const Class = byCode[code];
  return Class === undefined ? new TrayError(code, message, options) : new Class(message, options);
}

/** The error that `get` throws for a failure. `reviveCause` turns the serialized error of user code back into an error. */
export function errorOf(failure: Failure, reviveCause: (bytes: Uint8Array) => unknown): TrayError {
  const options: TrayErrorOptions = {};
  if (failure.hint !== "") options.hint = failure.hint;
  if (failure.detailsJson !== undefined && failure.detailsJson !== "") {
    const { causeBase64: _, ...details } = JSON.parse(failure.detailsJson) as Record<string, unknown>; // that is the cause's other way here
    options.details = details;
  }
  if (failure.cause !== undefined && failure.cause.length > 0) {
    try {
      options.cause = reviveCause(failure.cause);
    } catch (error) {
      options.cause = error; // the cause itself could not be read here: say so rather than nothing
    }
  }
  // Made while a message of the I/O thread is read: where that is says nothing to anybody. The API function that throws it gives it a stack.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  const error = publicError(failure.code as ErrorCode, failure.message, options);
  Error.stackTraceLimit = limit;
  return error;
}

/**
 * For the API's functions: an error of tray's that leaves `entry` gets the stack of who called it, `await`s included. What Node prints of an uncaught one
 * then begins with the user's line instead of one of this library's bundle.
 */
export function fromCaller(error: unknown, entry: Function): unknown {
  if (isTrayError(error)) Error.captureStackTrace(error, entry);
  return error;
}

/** The codec's refusal in the user's terms: `subject` ("argument 1 of train") cannot be shipped, and where in it lies what cannot. */
export function refusalOf(error: unknown, subject: string): unknown {
  if (!isTrayError(error, "SERIALIZATION")) return error;
  const { message, hint, details, cause } = error;
  return publicError("SERIALIZATION", `${subject} cannot be shipped: ${message.replace(/^value(?=[.[])/, "")}`, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** As refusalOf, for a list of arguments that `serialize` refuses one of: the codec saw them as one value, so each is tried again. */
export function argumentRefusalOf(error: unknown, callee: string, args: readonly unknown[], serialize: (arg: unknown) => unknown): unknown {
  if (!isTrayError(error, "SERIALIZATION")) return error;
  for (const [i, arg] of args.entries()) {
    try {
      serialize(arg);
    } catch (own) {
      return refusalOf(own, `argument ${i + 1} of ${callee}`);
    }
  }
  return refusalOf(error, `the arguments of ${callee}`);
}

/** A stack without the frames at its end that belong to the library in `libraryDir`, which called the user's code. */
export function withoutCallers(stack: string, libraryDir: string): string {
  const lines = stack.split("\n");
  let end = lines.length;
  let found = end;
  for (; end > 1 && /^\s+at /.test(lines[end - 1] ?? ""); end--) {
    const line = lines[end - 1] as string;
    if (line.includes(libraryDir)) found = end - 1;
    else if (!/\(?node:[^()]*\)?$/.test(line)) break;
  }
  // All of them: an error of the library itself, of which the frames are what there is to say.
  return /^\s+at /.test(lines[found - 1] ?? "") ? lines.slice(0, found).join("\n") : stack;
}

/** Thrown by `exitActor()`: unwinds the running method; user code should let it pass. */
export class ExitActorSignal extends Error {
  constructor() {
    super("exitActor(): this exception ends the method on purpose; let it pass");
    this.name = "ExitActorSignal";
  }
}
