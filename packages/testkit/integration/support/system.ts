// What the machine itself knows of a cluster: its processes, its sockets, its shared memory. Nothing of tray's own is asked.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

/** In the environment of everything that a test cluster starts, so that what outlives it is found whatever it has become. */
export const markVariable = "TRAY_INTEGRATION_CLUSTER";

export interface Leftover {
  readonly pid: number;
  readonly command: string;
}

/** Zombies have ended: nobody has looked yet. */
export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  const state = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[0];
  return state !== undefined && state !== "Z" && state !== "X";
}

export function markedProcesses(mark: string): Leftover[] {
  const entry = `${markVariable}=${mark}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && read(`/proc/${name}/environ`)?.split("\0").includes(entry) === true && isAlive(Number(name)))
    .map((name) => ({ pid: Number(name), command: (read(`/proc/${name}/cmdline`) ?? "").replaceAll("\0", " ").trim() }));
}

/** TCP ports and Unix sockets that these processes listen on. */
export function listeningSockets(pids: readonly number[]): string[] {
  const inodes = new Set(
    pids.flatMap((pid) => list(`/proc/${pid}/fd`).flatMap((fd) => /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`) ?? "")?.[1] ?? [])),
  );
  const listen = "0A";
  const tcp = ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((file) => (read(file) ?? "").split("\n").slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter((f) => f[3] === listen && inodes.has(f[9] ?? ""))
    .map((f) => `127.0.0.1:${Number.parseInt((f[1] ?? "").split(":").at(-1) ?? "", 16)}`);
  return [...new Set(tcp)];
}

export function accepts(address: string): Promise<boolean> {
  const at = address.lastIndexOf(":");
  return new Promise((resolve) => {
    const socket = connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)) });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** Files and directories in /dev/shm that belong to the sessions of a data directory. */
export function sharedMemoryOf(dataDirs: readonly string[]): string[] {
  const sessions = dataDirs.flatMap((dir) =>
    list(dir)
      .filter((name) => name.startsWith("session_") && name !== "session_latest")
      .map((name) => name.slice("session_".length)),
  );
  return list("/dev/shm").filter((name) => sessions.some((session) => name.includes(session)));
}

/** Sockets, and files of spilled objects, below a directory. */
export function residueBelow(dir: string): string[] {
  return list(dir).flatMap((name) => {
    const path = join(dir, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined || link(path) !== undefined) return [];
    if (stat.isDirectory()) return residueBelow(path);
    return stat.isSocket() || /\/(tray-)?spill/.test(dir) ? [path] : [];
  });
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined; // ended, or not ours
  }
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
