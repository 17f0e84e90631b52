// The results of a run as one record (what --json writes) and as the tables of docs/benchmarks.md.
import { type Group, groups, type System } from "./case.js";
import { cases, rowsByName } from "./cases/index.js";
import type { Failure } from "./comparison.js";
import { formatFigure, ratio, summarize } from "./stats.js";
import { absoluteTargets, type RelativeTarget, relativeTargets } from "./targets.js";

export interface Results {
  /** UTC, YYYY-MM-DD. */
  readonly date: string;
  readonly machine: { readonly cores: number; readonly cpu: string; readonly kernel: string; readonly memoryGibibytes: number };
  readonly node: string;
  readonly tray: string;
  readonly cpus: number;
  readonly method: string;
  readonly peers: readonly { readonly system: System; readonly title: string; readonly detail: string }[];
  readonly samples: Partial<Record<System, Record<string, number[]>>>;
  readonly failures: readonly Failure[];
}

/** The text above what is measured stays, and so does everything from here on, when a report is written again. */
export const keptHeading = "## Where a target is missed";

const titles: Readonly<Record<Group, string>> = {
  limits: "What bare primitives do on this machine",
  tasks: "Tasks",
  actors: "Actors",
  objects: "Objects",
  transfer: "Objects between two nodes on one machine",
  cluster: "Life of a head",
  growth: "Many queued tasks, busy drivers",
};

export const medianOf = (results: Results, system: System, row: string): number | undefined => {
  const samples = results.samples[system]?.[row];
  return samples === undefined || samples.length === 0 ? undefined : summarize(samples).median;
};

export interface Judgement {
  readonly row: string;
  /** What was asked for, in words. */
  readonly target: string;
  readonly met: boolean;
}

/** Every target whose figures are there. */
export function judge(results: Results): Judgement[] {
  const relative = relativeTargets.flatMap((target) => {
    const ours = medianOf(results, "tray", target.row);
    const theirs = medianOf(results, target.against, target.otherRow ?? target.row);
    const better = rowsByName.get(target.row)?.better;
    if (ours === undefined || theirs === undefined || better === undefined) return [];
    return [{ row: target.row, target: describe(target, ratio(ours, theirs, better)), met: ratio(ours, theirs, better) >= target.factor }];
  });
  const absolute = absoluteTargets.flatMap(({ row, limit }) => {
    const ours = medianOf(results, "tray", row);
    const known = rowsByName.get(row);
    if (ours === undefined || known === undefined) return [];
    const atLeast = known.better === "higher";
    return [{ row, target: `${atLeast ? "≥" : "≤"} ${formatFigure(limit)} ${known.unit}`, met: atLeast ? ours >= limit : ours <= limit }];
  });
  return [...relative, ...absolute];
}

const names: Readonly<Record<System, string>> = { tray: "tray", ray: "Ray", piscina: "Piscina", bare: "bare" };

function describe({ against, factor, otherRow }: RelativeTarget, reached: number): string {
  const other = otherRow === undefined ? names[against] : `\`${otherRow}\``;
  return `≥ ${formatFigure(factor)}× ${other} (${formatFigure(reached)}×)`;
}

/** The measured part of docs/benchmarks.md. */
export function renderMarkdown(results: Results): string {
  const { machine } = results;
  const judgements = judge(results);
  const missed = judgements.filter((j) => !j.met).length;
  return [
    "# Benchmarks",
    "",
    "Written by `npm run bench -- --write docs/benchmarks.md` from one run; every ratio is between medians of that run, with the systems taking turns case by case.",
    "",
    "| | |",
    "|---|---|",
    `| date | ${results.date} |`,
    `| machine | ${machine.cores} cores${machine.cpu === "" ? "" : ` (${machine.cpu})`}, ${formatFigure(machine.memoryGibibytes)} GiB, Linux ${machine.kernel} |`,
    `| tray | ${results.tray}, Node ${results.node} |`,
    ...results.peers.map((peer) => `| ${names[peer.system]} | ${peer.title}, ${peer.detail} |`),
    `| method | ${results.method} |`,
    "",
    `${judgements.length - missed} of ${judgements.length} targets that this run could judge are met. A ratio above 1 is in tray's favour, whichever way is better.`,
    "",
    ...groups.flatMap((group) => renderGroup(results, group, judgements)),
    ...(results.failures.length === 0
      ? []
      : [
          "## Not measured",
          "",
          ...results.failures.map(({ system, caseName, reason }) => `* ${names[system]}, \`${caseName}\`: ${firstLine(reason)}`),
          "",
        ]),
  ].join("\n");
}

function renderGroup(results: Results, group: Group, judgements: readonly Judgement[]): string[] {
  const measured: readonly System[] = ["tray", ...results.peers.map((peer) => peer.system), "bare"];
  const rows = cases.filter((c) => c.group === group).flatMap((c) => c.rows);
  const shown = rows.filter((row) => measured.some((system) => medianOf(results, system, row.name) !== undefined));
  if (shown.length === 0) return [];
  const systems = measured.filter((system) => shown.some((row) => medianOf(results, system, row.name) !== undefined));
  const others = systems.filter((system) => system !== "tray" && systems.includes("tray"));
  const head = ["case", "unit", ...systems.map((s) => names[s]), ...others.map((s) => `tray : ${names[s]}`), "target", "met"];
  const lines = shown.map((row) => {
    const ours = medianOf(results, "tray", row.name);
    const own = judgements.filter((j) => j.row === row.name);
    return [
      `\`${row.name}\`<br>${row.what}`,
      row.unit,
      ...systems.map((system) => figure(medianOf(results, system, row.name))),
      ...others.map((system) => {
        const theirs = medianOf(results, system, row.name);
        return ours === undefined || theirs === undefined ? "" : `${formatFigure(ratio(ours, theirs, row.better))}×`;
      }),
      own.map((j) => j.target).join("<br>"),
      own.map((j) => (j.met ? "yes" : "**no**")).join("<br>"),
    ];
  });
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const sides = head.map((_, i) => (i < 2 || i >= head.length - 2 ? "---" : "---:"));
  return [`## ${titles[group]}`, "", line(head), `|${sides.join("|")}|`, ...lines.map(line), ""];
}

const figure = (value: number | undefined): string => (value === undefined ? "" : formatFigure(value));
const firstLine = (text: string): string => text.split("\n", 1)[0] as string;

/** The new text of a report: what people wrote below the tables is kept. */
export function withKeptPart(measured: string, previous: string): string {
  const at = previous.indexOf(keptHeading);
  return at < 0 ? measured : `${measured.trimEnd()}\n\n${previous.slice(at)}`;
}
