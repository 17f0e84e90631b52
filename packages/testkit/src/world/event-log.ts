// EventLog: what happened in a simulation, in order: a hash of everything, and lines for people when they are asked for.
//
// Owns:     the hash, the lines, the violations found.
// Invariants
//   G1. Two runs of one seed note the same things in the same order; the hash says whether they did.
import type { LogFields, Logger, LogLevel } from "@tray/common";

/** Something that must never happen did. */
export class Violation extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Violation";
  }
}

/** What was thrown, with the place where that says more than the message. */
export function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return ["TypeError", "RangeError", "ReferenceError", "InvariantError"].includes(error.name) ? (error.stack ?? error.message) : error.message;
}

const violationsMax = 10;

export class EventLog {
  readonly violations: string[] = [];
  private a = 0x811c9dc5;
  private b = 0x9e3779b9;

  constructor(
    private readonly now: () => number,
    /** Gets each line as it is written; undefined: no lines are made. */
    private readonly write: ((line: string) => void) | undefined,
  ) {}

  get tracing(): boolean {
    return this.write !== undefined;
  }
  get hash(): string {
    return (this.a >>> 0).toString(16).padStart(8, "0") + (this.b >>> 0).toString(16).padStart(8, "0");
  }

  /** Something worth a line. `details`: shown, not hashed. */
  note(who: string, what: string, details = ""): void {
    this.number(this.now());
    this.text(who);
    this.text(what);
    this.show(who, details === "" ? what : `${what} ${details}`);
  }
  /** Shown, not hashed: the hash is the same with and without a trace. */
  show(who: string, what: string): void {
    this.write?.(`${this.now().toFixed(3).padStart(10)}  ${who.padEnd(10)} ${what}`);
  }
  /** A frame arrived: hashed, never shown. */
  frame(to: string, from: string, bytes: number): void {
    this.number(this.now());
    this.text(to);
    this.text(from);
    this.mix(bytes);
  }
  /** The first ones are kept: what follows is often their consequence. */
  violated(message: string): void {
    this.note("CHECK", message);
    if (this.violations.length < violationsMax) this.violations.push(`at ${this.now().toFixed(3)} ms: ${message}`);
  }

  private number(value: number): void {
    this.mix(Math.floor(value));
    this.mix(Math.floor((value % 1) * 0x7fffffff));
  }
  private text(text: string): void {
    for (let i = 0; i < text.length; i++) this.mix(text.charCodeAt(i));
  }
  private mix(value: number): void {
    this.a = Math.imul(this.a ^ value, 0x01000193);
    this.b = Math.imul(this.b ^ (value + (this.a >>> 15)), 0x85ebca6b);
  }
}

/**
 * A process's logger. An error that a daemon logs is a violation: in a simulation nothing outside goes wrong that is not injected, and for those
 * there are warnings. `expected` names the exceptions.
 */
export class SimLogger implements Logger {
  constructor(
    private readonly log: EventLog,
    private readonly who: string,
    private readonly alive: () => boolean,
    private readonly expected: readonly RegExp[] = [],
  ) {}

  debug(message: string, fields?: LogFields): void {
    if (this.log.tracing) this.emit("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.emit("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.emit("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    if (!this.alive()) return;
    this.emit("error", message, fields);
    if (!this.expected.some((pattern) => pattern.test(message))) this.log.violated(`${this.who} logged an error: ${message} ${textOf(fields)}`);
  }
  child(): Logger {
    return this;
  }

  private emit(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!this.alive()) return;
    if (level === "debug") this.log.show(this.who, `debug: ${message} ${textOf(fields)}`);
    else this.log.note(this.who, `${level}: ${message}`, this.log.tracing ? textOf(fields) : "");
  }
}

function textOf(fields: LogFields | undefined): string {
  if (fields === undefined) return "";
  return Object.entries(fields)
    .map(
      ([key, value]) =>
        `${key}=${value instanceof Error ? `${value.message}${value.name === "TypeError" || value.name === "InvariantError" ? `\n${value.stack}` : ""}` : String(value)}`,
    )
    .join(" ");
}
