import { TrayError } from "@tray/common";

/** Something wrong in a configuration, and where. */
export interface Problem {
  /** Keys and indexes from the root: ["systemConfig", "minSpillingSize"]. */
  readonly path: readonly (string | number)[];
  readonly message: string;
  /** The problem is the last key of `path` itself, not its value. */
  readonly atKey?: boolean;
}

/** One error for all problems, so that a user mends a file in one go. Each line is `location: message`. */
export function configError(what: string, lines: readonly string[]): TrayError {
  const count = lines.length === 1 ? "" : `${lines.length} problems in `;
  const message = lines.length === 1 ? `${lines[0]}` : `${count}${what}:\n${lines.map((line) => `  ${line}`).join("\n")}`;
  return new TrayError("CONFIG", message, { hint: "see `tray config schema` for every key and its meaning", details: { problems: [...lines] } });
}

/** "unknown key …", with the known key that was probably meant. */
export function unknownKey(key: string, known: readonly string[]): string {
  const meant = closest(key, known);
  return `unknown key "${key}"${meant === undefined ? `; known are ${known.join(", ")}` : `, did you mean "${meant}"?`}`;
}

/** The known word that differs least, if it differs little; other ways to join words ("num-cpus", "num_cpus") do not count as a difference. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.replace(/[-_]/g, "").toLowerCase();
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(plain(word), plain(candidate));
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** Levenshtein distance: insertions, deletions and substitutions. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
