// The log tail over a WebSocket: text frames from the beginning of the log, closed with 1000 after the job is terminal and its log was sent.
// An end that is not the job's (this server stops) drops the connection instead: a clean close means "finished" to every client.
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { type Logger, messageOf, type Scope } from "@tray/common";
import { type WebSocket, WebSocketServer } from "ws";
import { type AccessPolicy, refuse } from "../http/access.js";
import type { JobService } from "./job-service.js";

/** Far below the 4 MiB that Ray's client takes. */
const frameCharsMax = 64 * 1024;
/** Beyond this the job's log waits for the reader. */
const bufferedBytesMax = 1024 * 1024;

export function mountTail(server: Server, jobs: JobService, policy: AccessPolicy, scope: Scope, logger: Logger): void {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => socket.destroy());
    void upgrade(request, socket, head).catch((error: unknown) => {
      logger.warn("log tail failed", { error: messageOf(error) });
      answer(socket, 500, "500 Internal Server Error\n\nServer got itself in trouble");
    });
  });
  scope.defer("tails", () => {
    for (const client of sockets.clients) client.terminate();
    sockets.close();
  });

  async function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const refusal = refuse({ method: request.method ?? "GET", path, headers: request.headers }, policy);
    if (refusal !== undefined) return answer(socket, refusal.status, refusal.text);
    const id = decodeId(/^\/api\/jobs\/([^/]+)\/logs\/tail$/.exec(path)?.[1]);
    if (id === undefined) return answer(socket, 404, "404: Not Found");
    const found = await jobs.find(id);
    if (found === undefined) return answer(socket, 404, `Job ${id} does not exist`);
    if (found.kind !== "submission") return answer(socket, 400, "Can only get logs of submission type jobs");
    sockets.handleUpgrade(request, socket, head, (client) => {
      pump(client, found.record.submissionId).catch((error: unknown) => {
        logger.debug("log tail ended early", { error: messageOf(error) });
        client.terminate();
      });
    });
  }

  async function pump(client: WebSocket, submissionId: string): Promise<void> {
    const gone = new AbortController();
    client.on("close", () => gone.abort(new Error("reader left")));
    client.on("error", () => client.terminate());
    for await (const text of jobs.logs.tail(() => jobs.record(submissionId), AbortSignal.any([gone.signal, scope.signal]))) {
      for (const frame of frames(text)) await send(client, frame);
    }
    if (!gone.signal.aborted && !scope.signal.aborted) client.close(1000);
  }
}

/** Pieces of at most `frameCharsMax`, never between the halves of a surrogate pair. */
export function* frames(text: string): Generator<string, void> {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + frameCharsMax, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end--;
    yield text.slice(at, end);
    at = end;
  }
}

/** Resolves when there is room for more: at once, or when what was sent has reached the socket. */
function send(client: WebSocket, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    client.send(text, (error) => (error == null ? resolve() : reject(error)));
    if (client.bufferedAmount < bufferedBytesMax) resolve();
  });
}

function decodeId(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text);
  } catch {
    return undefined; // malformed escape: no such job
  }
}

function answer(socket: Duplex, status: number, text: string): void {
  const body = Buffer.from(text);
  socket.end(
    `HTTP/1.1 ${status} Refused\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${text}`,
  );
}
