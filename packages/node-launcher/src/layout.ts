// Where things lie on disk. One data directory holds sessions; a session is a cluster's life on this machine; each node of it has a folder of its own.
//
//   <dataDir>/session_latest → session_<name>
//   <dataDir>/session_<name>/logs/…              every log of the session's processes here
//                           /sockets/
//                           /gcs/                the GCS tables (head): they end with the session, not with the process
//                           /jobs/               uploaded packages, unpacked working directories, job scratch directories
//                           /nodes/<node>/       plan.json, *.config.json, address files, auth_token when it is this session's own
//                           /nodes/<node>/run/   configurations of the raylet's children: what carries one in its environment belongs to that raylet
//   /dev/shm/tray_<session>_<node>/              the node's arena: one directory, so that what a crash left is found and removed
import { randomBytes } from "node:crypto";
import type { Random } from "@tray/common";
import { lstatSync, mkdirSync, readdirSync, renameSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";

export const defaultDataDir = "/tmp/tray";
export const shmRoot = "/dev/shm";
const sessionPrefix = "session_";
const latestLink = "session_latest";

export interface SessionLayout {
  /** "2026-11-23_01-40-12_3f9a1c", UTC. */
  readonly name: string;
  readonly dataDir: string;
  readonly dir: string;
  readonly logsDir: string;
  readonly socketsDir: string;
  readonly tablesDir: string;
  readonly jobsDir: string;
  readonly nodesDir: string;
  /** Exists when the cluster of this session was ended on purpose: it is history and is not continued. */
  readonly endedFile: string;
}

export interface NodeLayout {
  readonly session: SessionLayout;
  readonly nodeName: string;
  readonly dir: string;
  readonly planFile: string;
  readonly supervisorFile: string;
  readonly tokenFile: string;
  readonly shmDir: string;
}

export type DaemonName = "gcs-server" | "raylet" | "dashboard";

export function newSessionName(wallMs: number, random: Random): string {
  const time = new Date(wallMs).toISOString().slice(0, 19).replace("T", "_").replaceAll(":", "-");
  return `${time}_${random.hex(3)}`;
}

export function sessionLayout(dataDir: string, name: string): SessionLayout {
  const dir = join(dataDir, sessionPrefix + name);
  return {
    name,
    dataDir,
    dir,
    logsDir: join(dir, "logs"),
    socketsDir: join(dir, "sockets"),
    tablesDir: join(dir, "gcs"),
    jobsDir: join(dir, "jobs"),
    nodesDir: join(dir, "nodes"),
    endedFile: join(dir, "ended"),
  };
}

export function nodeLayout(session: SessionLayout, nodeName: string): NodeLayout {
  const dir = join(session.nodesDir, nodeName);
  return {
    session,
    nodeName,
    dir,
    planFile: join(dir, "plan.json"),
    supervisorFile: join(dir, "supervisor.json"),
    tokenFile: join(dir, "auth_token"),
    shmDir: join(shmRoot, `tray_${session.name}_${nodeName}`),
  };
}

export const configFileOf = (node: NodeLayout, daemon: DaemonName): string => join(node.dir, `${daemon}.config.json`);
export const addressFileOf = (node: NodeLayout, daemon: DaemonName): string => join(node.dir, `${daemon}.json`);
/** Where the raylet of a node keeps the configurations of its children while they run. */
export const runDirOf = (node: NodeLayout): string => join(node.dir, "run");
export const logFileOf = (node: NodeLayout, daemon: DaemonName | "supervisor"): string =>
  join(node.session.logsDir, `${daemon}-${node.nodeName}.log`);
/** What a daemon writes when it cannot log: stack traces of crashes, messages of Node itself. */
export const stderrFileOf = (node: NodeLayout, daemon: DaemonName | "supervisor"): string =>
  join(node.session.logsDir, `${daemon}-${node.nodeName}.err`);

/** Makes the directories of a node. Sessions are private to their user: they hold logs and, at times, a token. */
export function makeNodeDirs(node: NodeLayout): void {
  mkdirSync(node.session.dataDir, { recursive: true, mode: 0o755 });
  for (const dir of [node.session.dir, node.session.logsDir, node.session.socketsDir, node.session.jobsDir, node.session.nodesDir, node.dir]) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }
}

/** Points `session_latest` at the session, atomically. */
export function linkLatest(session: SessionLayout): void {
  const link = join(session.dataDir, latestLink);
  const fresh = `${link}.${session.name}.${randomBytes(4).toString("hex")}`; // several nodes of one data directory may start at once
  symlinkSync(basename(session.dir), fresh);
  renameSync(fresh, link);
}

/** The sessions of a data directory, newest first. */
export function listSessions(dataDir: string): SessionLayout[] {
  return entries(dataDir)
    .filter((name) => name.startsWith(sessionPrefix) && name !== latestLink && isDirectory(join(dataDir, name)))
    .map((name) => name.slice(sessionPrefix.length))
    .sort()
    .reverse()
    .map((name) => sessionLayout(dataDir, name));
}

export function listNodeDirs(session: SessionLayout): NodeLayout[] {
  return entries(session.nodesDir)
    .sort()
    .map((name) => nodeLayout(session, name));
}

/** True when it is there and belongs to this user. */
export function isOwn(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.uid === process.getuid?.();
}

function entries(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return []; // not there (yet): nothing in it
  }
}

/** A link does not count: `session_latest.<name>` may be in the making. */
function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
