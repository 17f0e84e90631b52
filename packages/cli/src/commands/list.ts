import { textOf } from "@tray/common";
// tray list KIND and tray get KIND ID, straight from the GCS and the raylets.
import { type ActorInfo, ActorState, fromFixedPoint, type JobInfo, NodeState, type WorkerInfo } from "@tray/protocol";
import { type Connection, withConnection } from "../connection.js";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { type Column, printListing, printValue } from "../output/format.js";
import { quantity, rfc3339, shortId } from "../output/units.js";
import { readMemory } from "./memory.js";
import { statusReport } from "./status.js";

export type Item = Readonly<Record<string, unknown>>;

export interface ListFlags {
  filter?: string[];
  limit?: string;
  detail?: boolean;
}

interface Kind {
  readonly idKey: string;
  readonly read: (connection: Connection, nowMs: number) => Promise<Item[]>;
  readonly columns: readonly Column<Item>[];
}

const text =
  (key: string) =>
  (item: Item): string =>
    item[key] === null || item[key] === undefined || item[key] === "" ? "-" : textOf(item[key]);
const column = (title: string, key: string, wide = false): Column<Item> => ({ title, value: text(key), wide });
const idColumn = (title: string, key: string): Column<Item> => ({ title, value: text(key) });

export const kinds: Readonly<Record<string, Kind>> = {
  nodes: {
    idKey: "nodeId",
    read: async ({ gcs }, nowMs) => statusReport(await gcs.status({}, { retry: true }), nowMs).nodes.map((n) => ({ ...n })),
    columns: [
      idColumn("NODE ID", "nodeId"),
      column("NAME", "nodeName"),
      column("STATE", "state"),
      column("HEAD", "isHead"),
      column("ADDRESS", "address"),
      column("PID", "pid", true),
      { title: "RESOURCES", value: (n) => resourcesText((n["resources"] as { total: Record<string, number> }).total) },
    ],
  },
  actors: {
    idKey: "actorId",
    read: async ({ gcs }) => (await gcs.listActors({ limit: 10_000, namedOnly: false, namespace: "" }, { retry: true })).actors.map(actorItem),
    columns: [
      idColumn("ACTOR ID", "actorId"),
      column("CLASS", "className"),
      column("NAME", "name"),
      column("STATE", "state"),
      column("PID", "pid"),
      { title: "NODE", value: (a) => shortId(text("nodeId")(a)) },
      column("RESTARTS", "numRestarts"),
      column("JOB", "jobId"),
      column("NAMESPACE", "namespace", true),
    ],
  },
  workers: {
    idKey: "workerId",
    read: readWorkers,
    columns: [
      idColumn("WORKER ID", "workerId"),
      { title: "NODE", value: (w) => shortId(text("nodeId")(w)) },
      column("PID", "pid"),
      column("KIND", "kind"),
      column("STATE", "state"),
      column("TASK", "taskName"),
      column("ACTOR", "actorId", true),
      column("JOB", "jobId", true),
    ],
  },
  objects: {
    idKey: "objectId",
    read: async (connection) => (await readMemory(connection, objectsMax, false)).objects.map((object) => ({ ...object })),
    columns: [
      idColumn("OBJECT ID", "objectId"),
      column("BYTES", "sizeBytes"),
      column("STATE", "state"),
      { title: "NODES", value: (o) => (o["nodeIds"] as string[]).map(shortId).join(",") || "-" },
      { title: "OWNER", value: (o) => shortId(text("ownerId")(o)) },
      column("TASK", "task"),
    ],
  },
  jobs: {
    idKey: "jobId",
    read: readJobs,
    columns: [
      column("JOB", "jobId"),
      column("SUBMISSION", "submissionId"),
      column("TYPE", "type"),
      column("STATUS", "status"),
      column("STARTED", "startTime"),
      column("ENTRYPOINT", "entrypoint"),
    ],
  },
};

/** Of each node and process. */
const objectsMax = 10_000;
const notYet = ["tasks", "placement-groups", "runtime-envs"];

export async function list(session: Session, kindName: string, flags: ListFlags): Promise<void> {
  const kind = kindOf(kindName);
  const limit = flags.limit === undefined ? 100 : Number(flags.limit);
  if (!Number.isInteger(limit) || limit < 0)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--limit: '${flags.limit}' is not a number of rows`);
  const filters = (flags.filter ?? []).map(parseFilter);
  const items = await withConnection(session, findTarget(session), (c) => kind.read(c, session.context.clock.wallMs()));
  const matching = items
    .filter((item) => filters.every((f) => matches(item, f)))
    .sort((a, b) => (text(kind.idKey)(a) < text(kind.idKey)(b) ? -1 : 1));
  await printListing(session.context, flags.detail === true && session.format === "table" ? "wide" : session.format, {
    items: matching.slice(0, limit),
    total: matching.length,
    columns: kind.columns,
    name: (item) => text(kind.idKey)(item),
    none: `no ${kindName}`,
  });
}

/** One thing by its id, or by a beginning of it that no other has. */
export async function get(session: Session, kindName: string, id: string): Promise<void> {
  const plural = kindName in kinds || notYet.includes(kindName) ? kindName : `${kindName}s`;
  const kind = kindOf(plural);
  const items = await withConnection(session, findTarget(session), (c) => kind.read(c, session.context.clock.wallMs()));
  const keys = [kind.idKey, "submissionId", "name", "nodeName"];
  const exact = items.filter((item) => keys.some((key) => item[key] === id));
  const found = exact.length > 0 ? exact : items.filter((item) => id.length >= 4 && textOf(item[kind.idKey] ?? "").startsWith(id));
  const singular = plural.replace(/s$/, "");
  if (found.length > 1)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${found.length} ${plural} begin with ${id}`, "write more of the id");
  if (found[0] === undefined)
    throw new CliFailure(exitCodes.notFound, "NOT_FOUND", `there is no ${singular} ${id}`, `see them all with: tray list ${plural}`);
  await printValue(session.context, session.format, found[0]);
}

function kindOf(name: string): Kind {
  const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
  if (kind !== undefined) return kind;
  if (notYet.includes(name))
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `this version of tray does not list ${name}`,
      `it lists ${Object.keys(kinds).join(", ")}`,
    );
  throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `there is no kind '${name}'`, `kinds are ${Object.keys(kinds).join(", ")}`);
}

export interface Filter {
  readonly key: string;
  readonly negated: boolean;
  readonly value: string;
}

/** "state=ALIVE", "state!=DEAD"; keys in camelCase, kebab-case or snake_case. */
export function parseFilter(filter: string): Filter {
  const match = /^([A-Za-z][A-Za-z0-9_-]*)(!?=)(.*)$/s.exec(filter);
  if (match === null)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--filter: '${filter}' is not a filter`, "write key=value or key!=value");
  const key = (match[1] as string).replace(/[-_]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return { key, negated: match[2] === "!=", value: match[3] as string };
}

export function matches(item: Item, filter: Filter): boolean {
  if (!(filter.key in item)) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `--filter: there is no key '${filter.key}'`,
      `keys are ${Object.keys(item).join(", ")}`,
    );
  }
  const actual = item[filter.key];
  const same = actual !== null && actual !== undefined && textOf(actual).toLowerCase() === filter.value.toLowerCase();
  return same !== filter.negated;
}

function actorItem(actor: ActorInfo): Item {
  const { spec } = actor;
  return {
    actorId: actor.actorId,
    className: spec?.className ?? "",
    name: spec?.name ?? "",
    namespace: spec?.namespace ?? "",
    state: ActorState[actor.state] ?? "UNKNOWN",
    nodeId: actor.nodeId || null,
    pid: actor.pid || null,
    numRestarts: actor.numRestarts,
    jobId: spec?.jobId ?? "",
    deathCause: actor.deathCause === undefined ? null : { code: actor.deathCause.code, message: actor.deathCause.message },
    isDetached: spec?.detached ?? false,
    maxRestarts: spec?.maxRestarts ?? 0,
    resources: fromFixedPoint(spec?.lifetimeResources?.amounts ?? {}),
    waitCause: actor.wait === undefined || actor.wait.cause === "" ? null : { cause: actor.wait.cause, detail: actor.wait.detail },
    startTime: rfc3339(actor.startWallMs),
    endTime: rfc3339(actor.endWallMs),
  };
}

async function readWorkers(connection: Connection): Promise<Item[]> {
  const { nodes } = await connection.gcs.listNodes({}, { retry: true });
  const alive = nodes.filter((n) => n.state === NodeState.ALIVE);
  const answers = await Promise.allSettled(alive.map((n) => connection.raylet(n.raylet).status({}, { timeoutMs: 5_000 })));
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value.workers.map(workerItem) : []));
}

function workerItem(worker: WorkerInfo): Item {
  return {
    workerId: worker.workerId,
    nodeId: worker.nodeId,
    pid: worker.pid,
    kind: worker.kind,
    state: worker.state,
    actorId: worker.actorId || null,
    taskName: worker.taskName || null,
    residentBytes: worker.residentBytes,
    jobId: worker.jobId || null,
    startTime: rfc3339(worker.startWallMs),
  };
}

interface Submission {
  submissionId: string;
  status: string;
  entrypoint: string;
  message: string;
  startMs: number;
  endMs: number | null;
}

async function readJobs({ gcs }: Connection): Promise<Item[]> {
  const [{ jobs }, { entries }] = await Promise.all([
    gcs.listJobs({}, { retry: true }),
    gcs.kvList({ namespace: "submissions", prefix: "", values: true }, { retry: true }),
  ]);
  const submissions = entries.map((e) => JSON.parse(e.value.toString("utf8")) as Submission);
  const driverOf = (id: string): JobInfo | undefined => jobs.filter((j) => j.submissionId === id).at(-1);
  const known = new Set(submissions.map((s) => s.submissionId));
  return [
    ...submissions.map((s): Item => {
      const driver = driverOf(s.submissionId);
      return {
        jobId: driver?.jobId ?? null,
        submissionId: s.submissionId,
        type: "SUBMISSION",
        status: s.status,
        entrypoint: s.entrypoint,
        message: s.message,
        driverPid: driver?.driverPid ?? null,
        namespace: driver?.namespace ?? null,
        startTime: rfc3339(s.startMs),
        endTime: rfc3339(s.endMs ?? 0),
      };
    }),
    ...jobs
      .filter((j) => !known.has(j.submissionId))
      .map(
        (j): Item => ({
          jobId: j.jobId,
          submissionId: j.submissionId || null,
          type: "DRIVER",
          status: j.finished ? "SUCCEEDED" : "RUNNING",
          entrypoint: j.entrypoint,
          message: null,
          driverPid: j.driverPid || null,
          namespace: j.namespace,
          startTime: rfc3339(j.startWallMs),
          endTime: rfc3339(j.endWallMs),
        }),
      ),
  ];
}

function resourcesText(resources: Readonly<Record<string, number>>): string {
  return Object.entries(resources)
    .filter(([name]) => name !== "memory" && name !== "object_store_memory")
    .map(([name, amount]) => `${name}: ${quantity(amount)}`)
    .join(", ");
}
