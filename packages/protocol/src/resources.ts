// Fixed-point quantities (1/10 000 units): sums and differences are exact, so a ledger never drifts. A set is a plain record without
// zero entries; the empty record means "nothing".
import { InvariantError, TrayError } from "@tray/common";

export const resourceUnit = 10_000;

/** Fixed-point amounts by resource name. Never mutated: operations return new sets. */
export type Resources = Readonly<Record<string, number>>;

export const noResources: Resources = Object.freeze({});

/** From user quantities (floats) to fixed-point, rounded to the nearest 1/10 000. @throws INVALID_ARGUMENT for negative or non-finite amounts. */
export function toFixedPoint(amounts: Readonly<Record<string, number>>): Resources {
  const out: Record<string, number> = {};
  for (const [name, amount] of Object.entries(amounts)) {
    if (!Number.isFinite(amount) || amount < 0) {
      throw new TrayError("INVALID_ARGUMENT", `resource ${name}: ${amount} is not a quantity`, {
        hint: "quantities are finite and not negative; fractions to four digits",
      });
    }
    const fixed = Math.round(amount * resourceUnit);
    if (fixed > 0) out[name] = fixed;
  }
  return out;
}

/** Back to what people read. */
export function fromFixedPoint(amounts: Resources): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [name, amount] of Object.entries(amounts)) out[name] = amount / resourceUnit;
  return out;
}

/** True when `have` covers `want`. */
export function covers(have: Resources, want: Resources): boolean {
  for (const name in want) if ((have[name] ?? 0) < (want[name] as number)) return false;
  return true;
}

export function add(a: Resources, b: Resources): Resources {
  const out: Record<string, number> = { ...a };
  for (const name in b) out[name] = (out[name] ?? 0) + (b[name] as number);
  return out;
}

/** a − b; entries may become negative only with `allowDebt`. @throws InvariantError otherwise: a ledger was about to be over-granted. */
export function subtract(a: Resources, b: Resources, allowDebt = false): Resources {
  const out: Record<string, number> = { ...a };
  for (const name in b) {
    const left = (out[name] ?? 0) - (b[name] as number);
    if (left < 0 && !allowDebt) throw new InvariantError(`resource ${name} over-granted by ${-left}`);
    out[name] = left;
  }
  return out;
}

/** How many times `want` fits into `have`; Infinity for an empty want. */
export function timesFits(have: Resources, want: Resources): number {
  let times = Number.POSITIVE_INFINITY;
  for (const name in want) times = Math.min(times, Math.floor((have[name] ?? 0) / (want[name] as number)));
  return times;
}

/** "{CPU: 1, GPU: 0.5}", names sorted; the form used in messages and tables. */
export function formatResources(amounts: Resources): string {
  const names = Object.keys(amounts).sort();
  return `{${names.map((name) => `${name}: ${(amounts[name] as number) / resourceUnit}`).join(", ")}}`;
}

/** Canonical text for use as a map key. */
export function resourcesKey(amounts: Resources): string {
  return Object.keys(amounts)
    .sort()
    .map((name) => `${name}=${amounts[name]}`)
    .join(",");
}
