// Every case, in the order in which they run.
import type { Case, Row } from "../case.js";
import { actorCases } from "./actors.js";
import { broadcastCases } from "./broadcast.js";
import { headLife } from "./cluster.js";
import { growthCases } from "./growth.js";
import { limitCases } from "./limits.js";
import { objectCases } from "./objects.js";
import { spillCase } from "./spill.js";
import { taskCases } from "./tasks.js";
import { transferCases } from "./transfer.js";

export const cases: readonly Case[] = [
  ...limitCases,
  ...taskCases,
  ...actorCases,
  ...objectCases,
  spillCase,
  ...transferCases,
  ...broadcastCases,
  headLife,
  ...growthCases,
];

export const rowsByName: ReadonlyMap<string, Row> = new Map(cases.flatMap((c) => c.rows.map((row) => [row.name, row] as const)));
