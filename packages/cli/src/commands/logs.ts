// tray logs: which log files there are, and what stands in one, on whichever node it is.
import { sleep } from "@tray/common";
import { NodeState } from "@tray/protocol";
import { StringDecoder } from "node:string_decoder";
import { type Connection, withConnection } from "../connection.js";
import { CliFailure, exitCodes } from "../failure.js";
import { findTarget, type Session } from "../globals.js";
import { printListing } from "../output/format.js";

export interface LogsFlags {
  follow?: boolean;
  tail?: string;
  node?: string;
}

interface LogFile {
  readonly file: string;
  readonly nodeName: string;
  readonly nodeId: string;
  readonly raylet: string;
}

const chunkBytesMax = 256 * 1024;
const pollMs = 200;

export async function logs(session: Session, file: string | undefined, flags: LogsFlags): Promise<number> {
  return await withConnection(session, findTarget(session), async (connection) => {
    const files = await readFiles(connection, flags.node);
    if (file === undefined) {
      await printListing(session.context, session.format, {
        items: files.map(({ file: name, nodeName, nodeId }) => ({ file: name, nodeName, nodeId })),
        total: files.length,
        columns: [
          { title: "FILE", value: (f) => f.file },
          { title: "NODE", value: (f) => f.nodeName },
          { title: "NODE ID", value: (f) => f.nodeId, wide: true },
        ],
        name: (f) => f.file,
        none: "no logs",
      });
      return exitCodes.ok;
    }
    const found =
      files.find((f) => f.file === file) ??
      one(
        files.filter((f) => f.file.startsWith(file)),
        file,
      );
    await print(session, connection, found, flags);
    return exitCodes.ok;
  });
}

function one(files: readonly LogFile[], wanted: string): LogFile {
  const [first] = files;
  if (first === undefined) throw new CliFailure(exitCodes.notFound, "NOT_FOUND", `there is no log file ${wanted}`, "see them all with: tray logs");
  if (new Set(files.map((f) => f.file)).size > 1)
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `${wanted} could be ${files
        .slice(0, 5)
        .map((f) => f.file)
        .join(", ")}`,
      "write more of the name",
    );
  return first;
}

async function readFiles(connection: Connection, node: string | undefined): Promise<LogFile[]> {
  const { nodes } = await connection.gcs.listNodes({}, { retry: true });
  const wanted = nodes.filter((n) => n.state === NodeState.ALIVE && (node === undefined || n.nodeName === node || n.nodeId.startsWith(node)));
  if (node !== undefined && wanted.length === 0)
    throw new CliFailure(exitCodes.notFound, "NOT_FOUND", `there is no living node ${node}`, "see them all with: tray list nodes");
  const seen = new Set<string>(); // nodes of one machine share a directory
  const out: LogFile[] = [];
  for (const n of wanted) {
    const { files } = await connection.raylet(n.raylet).listLogs({}, { timeoutMs: 5_000 });
    for (const file of files) {
      const key = `${n.hostname}:${n.sessionDir}:${file}`;
      if (seen.has(key)) continue;
      seen.add(key);
      out.push({ file, nodeName: n.nodeName, nodeId: n.nodeId, raylet: n.raylet });
    }
  }
  return out.sort((a, b) => (a.file < b.file ? -1 : 1));
}

async function print(session: Session, connection: Connection, log: LogFile, flags: LogsFlags): Promise<void> {
  const { context } = session;
  const raylet = connection.raylet(log.raylet);
  const decoder = new StringDecoder("utf8");
  const lines = flags.tail === undefined ? undefined : Number(flags.tail);
  if (lines !== undefined && (!Number.isInteger(lines) || lines < 0))
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--tail: '${flags.tail}' is not a number of lines`);
  let offset = 0;
  let kept = "";
  const deadline = session.timeoutMs === undefined ? Number.POSITIVE_INFINITY : context.clock.now() + session.timeoutMs;
  for (let caughtUp = false; ; ) {
    const { data } = await raylet.readLog({ file: log.file, offset, maxBytes: chunkBytesMax }, { retry: true, timeoutMs: 10_000 });
    offset += data.length;
    const text = decoder.write(data);
    if (caughtUp || lines === undefined) context.stdout.write(text);
    else kept = lastLines(kept + text, lines);
    if (data.length > 0) continue;
    if (!caughtUp && lines !== undefined) context.stdout.write(kept);
    caughtUp = true;
    if (flags.follow !== true) return;
    if (context.clock.now() > deadline) throw new CliFailure(exitCodes.timeout, "TIMEOUT", `followed ${log.file} for ${session.flags.timeout}`);
    await sleep(context.clock, pollMs, context.interruption);
  }
}

/** The last `count` lines; a last one that is not finished counts. */
export function lastLines(text: string, count: number): string {
  const lines = text.split("\n");
  const finished = lines.at(-1) === "";
  return lines.slice(-(count + (finished ? 1 : 0))).join("\n");
}
