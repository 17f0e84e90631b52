// Label selectors: what a node's labels must be. One condition per key, all must hold.
import { TrayError } from "@tray/common";

export type Labels = Readonly<Record<string, string>>;

/** One parsed condition: the label is (or, `negated`, is not) one of `values`. */
export interface LabelCondition {
  readonly key: string;
  readonly values: readonly string[];
  readonly negated: boolean;
  /** As the user wrote it: "zone=in(a,b)". */
  readonly text: string;
}

const valuePattern = /^[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9])?$/;

/**
 * Parses `{ key: "v" | "!v" | "in(a,b)" | "!in(a,b)" }`.
 * @throws INVALID_ARGUMENT naming the key.
 */
export function parseLabelSelector(selector: Labels): LabelCondition[] {
  return Object.keys(selector)
    .sort()
    .map((key) => parseCondition(key, selector[key] as string));
}

function parseCondition(key: string, written: string): LabelCondition {
  const text = `${key}=${written}`;
  const trimmed = written.trim();
  const negated = trimmed.startsWith("!");
  const body = negated ? trimmed.slice(1).trim() : trimmed;
  const list = /^in\((.*)\)$/.exec(body)?.[1];
  const values = list === undefined ? [body] : list.split(",").map((value) => value.trim());
  if (key === "" || values.some((value) => !valuePattern.test(value))) {
    throw new TrayError("INVALID_ARGUMENT", `label selector ${text} cannot be read`, {
      hint: 'write { zone: "a" }, { zone: "!a" }, { zone: "in(a,b)" } or { zone: "!in(a,b)" }',
    });
  }
  return { key, values, negated, text };
}

/** A missing label satisfies a negated condition and no other. */
export function holds(condition: LabelCondition, labels: Labels): boolean {
  const value = labels[condition.key];
  return (value !== undefined && condition.values.includes(value)) !== condition.negated;
}

export const matches = (conditions: readonly LabelCondition[], labels: Labels): boolean => conditions.every((condition) => holds(condition, labels));
