// docs/benchmarks.md, made of the results of one run and of nothing else.
import { type Group, groups, type System } from "./case.js";
import { cases } from "./cases/index.js";
import { type Judgement, judge, medianOf, systemNames, type Verdict } from "./judgement.js";
import type { Results } from "./results.js";
import { formatFigure, ratio, summarize } from "./stats.js";

/** Beside the report; written by hand. */
const analysisFile = "benchmarks-analysis.md";

const titles: Readonly<Record<Group, string>> = {
  limits: "What bare primitives do on this machine",
  tasks: "Tasks",
  actors: "Actors",
  objects: "Objects",
  transfer: "Objects between two nodes on one machine",
  cluster: "Life of a head",
  growth: "Many queued tasks, busy drivers",
};
const marks: Readonly<Record<Verdict, string>> = { met: "met", missed: "**missed**", "not measured": "not measured" };

export function renderMarkdown(results: Results): string {
  const judgements = judge(results);
  return [
    "# Benchmarks",
    "",
    "Written by `npm run bench -- --write docs/benchmarks.md` from one run; do not edit. Every ratio is between medians of that run, with the systems taking turns case by case.",
    `What the figures mean, why targets are missed and what was tried: [${analysisFile}](${analysisFile}).`,
    "",
    ...renderRun(results),
    "",
    "## Targets",
    "",
    ...renderTargets(judgements),
    "",
    ...groups.flatMap((group) => renderGroup(results, group)),
    ...renderFailures(results),
  ].join("\n");
}

function renderRun({ machine, ...results }: Results): string[] {
  const load = machine.load === undefined ? [] : [["load when it began", formatFigure(machine.load)] as const];
  return table(
    ["", ""],
    ["", ""],
    [
      ["date", results.date],
      [
        "machine",
        `${machine.cores} cores${machine.cpu === "" ? "" : ` (${machine.cpu})`}, ${formatFigure(machine.memoryGibibytes)} GiB, Linux ${machine.kernel}`,
      ],
      ...load,
      ["tray", `${results.tray}, Node ${results.node}`],
      ...results.peers.map((peer) => [systemNames[peer.system], `${peer.title}, ${peer.detail}`]),
      ["method", results.method],
    ],
  );
}

function renderTargets(judgements: readonly Judgement[]): string[] {
  const count = (verdict: Verdict): number => judgements.filter((j) => j.verdict === verdict).length;
  const unknown = count("not measured");
  return [
    `${count("met")} of ${judgements.length} targets are met, ${count("missed")} missed${unknown === 0 ? "" : `, ${unknown} not measured in this run`}. A ratio above 1 is in tray's favour, whichever way is better.`,
    "",
    ...table(
      ["target", "case", "asked", "reached", "verdict"],
      ["", "", "", "right", ""],
      judgements.map((j, i) => [judgements[i - 1]?.title === j.title ? "" : j.title, `\`${j.row}\``, j.asked, j.reached ?? "", marks[j.verdict]]),
    ),
  ];
}

function renderGroup(results: Results, group: Group): string[] {
  const measured: readonly System[] = ["tray", ...results.peers.map((peer) => peer.system), "bare"];
  const rows = cases.filter((c) => c.group === group).flatMap((c) => c.rows);
  const shown = rows.filter((row) => measured.some((system) => medianOf(results, system, row.name) !== undefined));
  if (shown.length === 0) return [];
  const systems = measured.filter((system) => shown.some((row) => medianOf(results, system, row.name) !== undefined));
  const others = systems.filter((system) => system !== "tray" && systems.includes("tray"));
  const head = ["case", "unit", ...systems.map((s) => systemNames[s]), ...others.map((s) => `tray : ${systemNames[s]}`)];
  return [
    `## ${titles[group]}`,
    "",
    ...table(
      head,
      head.map((_, i) => (i < 2 ? "" : "right")),
      shown.map((row) => {
        const ours = medianOf(results, "tray", row.name);
        return [
          `\`${row.name}\`<br>${row.what}`,
          row.unit,
          ...systems.map((system) => figure(results.samples[system]?.[row.name])),
          ...others.map((system) => {
            const theirs = medianOf(results, system, row.name);
            return ours === undefined || theirs === undefined ? "" : `${formatFigure(ratio(ours, theirs, row.better))}×`;
          }),
        ];
      }),
    ),
    "",
  ];
}

function renderFailures({ failures }: Results): string[] {
  if (failures.length === 0) return [];
  return ["## Not measured", "", ...failures.map((f) => `* ${systemNames[f.system]}, \`${f.caseName}\`: ${lastLine(f.reason)}`), ""];
}

/** The median, and below it from where to where the samples went. */
function figure(samples: readonly number[] | undefined): string {
  if (samples === undefined || samples.length === 0) return "";
  const { median, min, max, count } = summarize(samples);
  return count === 1 ? formatFigure(median) : `${formatFigure(median)}<br><sub>${formatFigure(min)} – ${formatFigure(max)}</sub>`;
}

// What a command printed ends with its error.
const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1) as string;

function table(head: readonly string[], sides: readonly ("" | "right")[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${sides.map((side) => (side === "right" ? "---:" : "---")).join("|")}|`, ...rows.map(line)];
}
