// How answers are shown: table, wide, json, yaml, name. JSON is a contract; tables are for eyes.
import type { CliContext } from "../context.js";
import { CliFailure, exitCodes } from "../failure.js";

export const formats = ["table", "wide", "json", "yaml", "name"] as const;
export type Format = (typeof formats)[number];

export function parseFormat(text: string): Format {
  if ((formats as readonly string[]).includes(text)) return text as Format;
  throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `output format '${text}' is not known`, `use one of ${formats.join(", ")}`);
}

export interface Column<T> {
  readonly title: string;
  readonly value: (item: T) => string;
  /** Only with -o wide. */
  readonly wide?: boolean;
}

export interface Listing<T> {
  readonly items: readonly T[];
  readonly total: number;
  readonly columns: readonly Column<T>[];
  readonly name: (item: T) => string;
  /** What a table says when there is nothing. */
  readonly none: string;
}

export async function printListing<T>(context: CliContext, format: Format, listing: Listing<T>): Promise<void> {
  const { items, total } = listing;
  switch (format) {
    case "json":
    case "yaml":
      return await printValue(context, format, { items, total, truncated: items.length < total });
    case "name":
      for (const item of items) context.stdout.write(`${listing.name(item)}\n`);
      return;
    default:
      if (items.length === 0) context.stderr.write(`${listing.none}\n`);
      else context.stdout.write(renderTable(items, format === "wide" ? listing.columns : listing.columns.filter((c) => c.wide !== true)));
      if (items.length < total) context.stderr.write(`${items.length} of ${total} shown; --limit shows more\n`);
  }
}

/** One object: JSON, YAML, or `key: value` lines. */
export async function printValue(context: CliContext, format: Format, value: unknown): Promise<void> {
  if (format === "json") context.stdout.write(`${JSON.stringify(value, null, context.stdout.isTTY ? 2 : undefined)}\n`);
  else if (format === "yaml") context.stdout.write((await import("yaml")).stringify(value));
  else context.stdout.write(renderRecord(value));
}

export function renderTable<T>(items: readonly T[], columns: readonly Column<T>[]): string {
  const rows = [columns.map((c) => c.title), ...items.map((item) => columns.map((c) => c.value(item)))];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => width(row[i] ?? ""))));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat((widths[i] ?? 0) - width(cell))))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

export function renderRecord(value: unknown): string {
  if (typeof value !== "object" || value === null) return `${String(value)}\n`;
  const entries = Object.entries(value);
  const longest = Math.max(0, ...entries.map(([key]) => key.length));
  return entries
    .map(([key, v]) => `${key.padEnd(longest)}  ${typeof v === "object" && v !== null ? JSON.stringify(v) : String(v ?? "-")}\n`)
    .join("");
}

/** Columns that a text takes; what colours it is not counted. */
function width(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return Array.from(text.replace(/\u001b\[[0-9;]*m/g, "")).length;
}
