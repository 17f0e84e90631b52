// Whether a run meets what tray aims at: one verdict for each target, also for those that the run could not judge.
import type { System } from "./case.js";
import { rowsByName } from "./cases/index.js";
import type { Results } from "./results.js";
import { formatFigure, ratio, summarize } from "./stats.js";
import { aims, type Target } from "./targets.js";

export type Verdict = "met" | "missed" | "not measured";

export interface Judgement {
  /** What is aimed at, in words. */
  readonly title: string;
  readonly row: string;
  /** What was asked for: "≥ 9× Ray". */
  readonly asked: string;
  /** In the same terms; absent when a figure is missing. */
  readonly reached: string | undefined;
  readonly verdict: Verdict;
}

export const systemNames: Readonly<Record<System, string>> = { tray: "tray", ray: "Ray", piscina: "Piscina", bare: "bare" };

export function medianOf(results: Results, system: System, row: string): number | undefined {
  const samples = results.samples[system]?.[row];
  return samples === undefined || samples.length === 0 ? undefined : summarize(samples).median;
}

/** All targets in their order. */
export const judge = (results: Results): Judgement[] =>
  aims.flatMap(({ title, targets }) => targets.map((target) => ({ title, row: target.row, ...judgeOne(results, target) })));

function judgeOne(results: Results, target: Target): Pick<Judgement, "asked" | "reached" | "verdict"> {
  const row = rowsByName.get(target.row);
  if (row === undefined) throw new Error(`a target is for ${target.row}, which no case measures`);
  const ours = medianOf(results, "tray", target.row);
  if ("limit" in target) {
    const atLeast = row.better === "higher";
    const asked = `${atLeast ? "≥" : "≤"} ${formatFigure(target.limit)} ${row.unit}`;
    if (ours === undefined) return { asked, reached: undefined, verdict: "not measured" };
    const met = atLeast ? ours >= target.limit : ours <= target.limit;
    return { asked, reached: `${formatFigure(ours)} ${row.unit}`, verdict: met ? "met" : "missed" };
  }
  const other = target.otherRow === undefined ? systemNames[target.against] : `\`${target.otherRow}\``;
  const asked = `≥ ${formatFigure(target.factor)}× ${other}`;
  const theirs = medianOf(results, target.against, target.otherRow ?? target.row);
  if (ours === undefined || theirs === undefined) return { asked, reached: undefined, verdict: "not measured" };
  const times = ratio(ours, theirs, row.better);
  return { asked, reached: `${formatFigure(times)}×`, verdict: times >= target.factor ? "met" : "missed" };
}
