// Three kinds of failure (docs/decisions/0001): expected outcomes are values; operational failures are TrayErrors, which cross the
// wire by code and never by text; broken invariants crash the process.

/** Every code that a TrayError may carry; the wire and `isTrayError` use these, never messages. */
export const errorCodes = [
  "TASK_ERROR",
  "WORKER_CRASHED",
  "ACTOR_DIED",
  "ACTOR_UNAVAILABLE",
  "OBJECT_LOST",
  "OWNER_DIED",
  "OBJECT_RECONSTRUCTION_FAILED",
  "OBJECT_FREED",
  "GET_TIMEOUT",
  "TASK_TIMEOUT",
  "TASK_CANCELLED",
  "PENDING_CALLS_LIMIT_EXCEEDED",
  "ACTOR_NOT_FOUND",
  "NAME_TAKEN",
  "OUT_OF_MEMORY",
  "OBJECT_STORE_FULL",
  "OUT_OF_DISK",
  "RUNTIME_ENV_SETUP",
  "TASK_UNSCHEDULABLE",
  "ACTOR_UNSCHEDULABLE",
  "PLACEMENT_GROUP",
  "NODE_DIED",
  "SYSTEM",
  "SERIALIZATION",
  "CONNECTION",
  "AUTHENTICATION",
  "VERSION_MISMATCH",
  "QUEUE_FULL",
  "QUEUE_EMPTY",
  "INVALID_ARGUMENT",
  "CONFIG",
  "NOT_FOUND",
  "CONFLICT",
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "RESOURCE_EXHAUSTED",
] as const;

export type ErrorCode = (typeof errorCodes)[number];

const brand = Symbol.for("tray.TrayError");

export interface TrayErrorOptions {
  cause?: unknown;
  /** What to do next, printed on its own line by the command line. */
  hint?: string;
  /** Structured facts (node, pid, exit code, …); JSON values only, they cross the wire. */
  details?: Record<string, unknown>;
}

/** An operational failure: something outside the program went wrong and the caller may want to react to its `code`. */
export class TrayError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, options: TrayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "TrayError";
    this.code = code;
    this.retryable = retryableCodes.has(code);
    this.hint = options.hint;
    this.details = options.details;
    Object.defineProperty(this, brand, { value: true, enumerable: false });
    // Node prints the enumerable properties of an uncaught error: code, hint and cause are for people, the rest is for programs or said already.
    for (const key of ["name", "retryable", "details", ...(options.hint === undefined ? ["hint"] : [])])
      Object.defineProperty(this, key, { enumerable: false });
  }
}

const retryableCodes: ReadonlySet<ErrorCode> = new Set([
  "ACTOR_UNAVAILABLE",
  "QUEUE_FULL",
  "QUEUE_EMPTY",
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "RESOURCE_EXHAUSTED",
]);

/** True for a TrayError of any realm or copy of this package (checked by brand); with `code`, only for that code. */
export function isTrayError(error: unknown, code?: ErrorCode): error is TrayError {
  if (typeof error !== "object" || error === null || !(brand in error)) return false;
  return code === undefined || (error as unknown as TrayError).code === code;
}

/** A broken invariant: a bug. The process must not go on with state it no longer understands. */
export class InvariantError extends Error {
  constructor(message: string) {
    super(`invariant violated: ${message}`);
    this.name = "InvariantError";
  }
}

export function invariant(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === "string" ? message : message());
}

/** For the `default` of a switch over a union: does not compile while a case is missing. */
export function unreachable(value: never): never {
  throw new InvariantError(`unexpected case ${JSON.stringify(value)}`);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
