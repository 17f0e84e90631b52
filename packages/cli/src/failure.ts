// Failures of commands: an exit code from cli.md's table, a line that says what happened, a hint that says what to do next.
import { isTrayError, messageOf } from "@tray/common";

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  unauthenticated: 4,
  timeout: 5,
  infeasible: 6,
  notFound: 7,
  conflict: 8,
  internal: 70,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes] | 130 | 143;

export class CliFailure extends Error {
  constructor(
    readonly exitCode: ExitCode,
    readonly code: string,
    message: string,
    readonly hint?: string,
  ) {
    super(message);
  }
}

export interface FailureReport {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  /** Further lines for people: a log's last words. */
  readonly lines: readonly string[];
}

const exitCodeOfError: Readonly<Record<string, ExitCode>> = {
  CONFIG: exitCodes.usage,
  INVALID_ARGUMENT: exitCodes.usage,
  CONNECTION: exitCodes.unreachable,
  UNAVAILABLE: exitCodes.unreachable,
  DEADLINE_EXCEEDED: exitCodes.unreachable,
  AUTHENTICATION: exitCodes.unauthenticated,
  NOT_FOUND: exitCodes.notFound,
  ACTOR_NOT_FOUND: exitCodes.notFound,
  CONFLICT: exitCodes.conflict,
  NAME_TAKEN: exitCodes.conflict,
  VERSION_MISMATCH: exitCodes.conflict,
};

export function reportOf(error: unknown): FailureReport {
  if (error instanceof CliFailure) return { exitCode: error.exitCode, code: error.code, message: error.message, hint: error.hint, lines: [] };
  if (isTrayError(error)) {
    const own = error as { exitCode?: unknown; lines?: unknown };
    const exitCode = typeof own.exitCode === "number" ? own.exitCode : (exitCodeOfError[error.code] ?? exitCodes.internal);
    const hint =
      error.hint ??
      (error.code === "AUTHENTICATION" ? "the token must be the head's: copy its ~/.tray/auth_token, or set TRAY_AUTH_TOKEN" : undefined);
    return { exitCode, code: error.code, message: error.message, hint, lines: Array.isArray(own.lines) ? (own.lines as string[]) : [] };
  }
  return {
    exitCode: exitCodes.internal,
    code: "INTERNAL",
    message: messageOf(error),
    hint: "this is a bug in tray; please report it with the lines above",
    lines: stackLines(error),
  };
}

function stackLines(error: unknown): string[] {
  return error instanceof Error ? (error.stack ?? "").split("\n").slice(1, 6) : [];
}
