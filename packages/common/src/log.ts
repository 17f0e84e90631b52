// JSON lines, one object a line, levels as in syslog's short list. Pretty printing is the command line's business.

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

const order: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Writes lines to `write` (a file stream, stderr, a test's array). `wallMs` stamps them. */
export function createLogger(options: { level: LogLevel; write: (line: string) => void; wallMs: () => number; fields?: LogFields }): Logger {
  const emit = (level: LogLevel, message: string, fields?: LogFields): void => {
    if (order[level] < order[options.level]) return;
    const time = new Date(options.wallMs()).toISOString();
    options.write(`${JSON.stringify({ time, level, ...options.fields, ...flatten(fields), message })}\n`);
  };
  return {
    debug: (m, f) => emit("debug", m, f),
    info: (m, f) => emit("info", m, f),
    warn: (m, f) => emit("warn", m, f),
    error: (m, f) => emit("error", m, f),
    child: (fields) => createLogger({ ...options, fields: { ...options.fields, ...fields } }),
  };
}

function flatten(fields: LogFields | undefined): LogFields | undefined {
  if (fields === undefined) return undefined;
  const out: LogFields = {};
  for (const [key, value] of Object.entries(fields)) {
    out[key] = value instanceof Error ? { message: value.message, stack: value.stack } : typeof value === "bigint" ? value.toString() : value;
  }
  return out;
}

const nothing = (): void => undefined;
export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLogger };
