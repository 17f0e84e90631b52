import { textOf } from "@tray/common";
// The State API's query: filters, limit, detail; and the envelope of its answers.
import type { Resource, Row } from "./rows.js";

export interface Query {
  readonly filters: readonly { readonly key: string; readonly negated: boolean; readonly value: string }[];
  readonly limit: number;
  readonly detail: boolean;
}

export class BadQuery extends Error {}

const limitMax = 10_000;

/** @throws BadQuery */
export function parseQuery(params: URLSearchParams, resource: Resource): Query {
  const keys = params.getAll("filter_keys");
  const predicates = params.getAll("filter_predicates");
  const values = params.getAll("filter_values");
  if (keys.length !== values.length || keys.length !== predicates.length)
    throw new BadQuery("filter_keys, filter_predicates and filter_values must pair up");
  const filters = keys.map((key, i) => {
    if (!resource.filterable.includes(key) && !resource.detail.includes(key)) {
      throw new BadQuery(
        `The given filter column ${key} is not supported. Supported filter columns: {${resource.filterable.map((c) => `'${c}'`).join(", ")}}`,
      );
    }
    const predicate = predicates[i];
    if (predicate !== "=" && predicate !== "!=") throw new BadQuery(`Unsupported filter predicate ${predicate}; use = or !=`);
    return { key, negated: predicate === "!=", value: values[i] ?? "" };
  });
  const limit = Number(params.get("limit") ?? 100);
  if (!Number.isInteger(limit) || limit < 0) throw new BadQuery(`limit ${params.get("limit")} is not a number of rows`);
  if (limit > limitMax) throw new BadQuery(`Given limit ${limit} exceeds the supported limit ${limitMax}. Use a lower limit.`);
  return { filters, limit, detail: /^(true|1)$/i.test(params.get("detail") ?? "false") };
}

/** Filters, sorts by id, limits, and wraps. */
export function answer(rows: readonly Row[], resource: Resource, query: Query, warning = ""): object {
  const matching = rows.filter((row) => query.filters.every((f) => matches(row[f.key], f.value) !== f.negated));
  const sorted = [...matching].sort((a, b) => (textOf(a[resource.idColumn] ?? "") < textOf(b[resource.idColumn] ?? "") ? -1 : 1));
  const shown = sorted
    .slice(0, query.limit)
    .map((row) => (query.detail ? row : Object.fromEntries(Object.entries(row).filter(([key]) => !resource.detail.includes(key)))));
  return {
    result: true,
    msg: "",
    data: {
      result: {
        total: rows.length,
        num_after_truncation: rows.length,
        num_filtered: matching.length,
        result: shown,
        partial_failure_warning: warning,
        warnings: null,
      },
    },
  };
}

export const failure = (message: string): object => ({ result: false, msg: message, data: { result: null } });

/** By the column's type; text regardless of case; nothing equals a missing value. */
function matches(actual: unknown, wanted: string): boolean {
  if (actual === null || actual === undefined) return false;
  if (typeof actual === "boolean") return actual === /^(true|1)$/i.test(wanted);
  if (typeof actual === "number") return actual === Number(wanted);
  return textOf(actual).toLowerCase() === wanted.toLowerCase();
}
