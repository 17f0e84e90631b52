// The Jobs HTTP API from the command's side.
import { messageOf, sleep } from "@tray/common";
import { readTlsDir } from "@tray/node-launcher";
import { createReadStream, statSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Readable } from "node:stream";
import { withConnection } from "./connection.js";
import type { CliContext } from "./context.js";
import { CliFailure, exitCodes } from "./failure.js";
import { findTarget, isHttp, type Session, type Target } from "./globals.js";

/** Ray's JobDetails. */
export interface JobDetails {
  type: "SUBMISSION" | "DRIVER";
  job_id: string | null;
  submission_id: string | null;
  status: "PENDING" | "RUNNING" | "STOPPED" | "SUCCEEDED" | "FAILED";
  entrypoint: string;
  message: string | null;
  error_type: string | null;
  start_time: number | null;
  end_time: number | null;
  driver_exit_code: number | null;
  [key: string]: unknown;
}

export const isTerminal = (job: JobDetails): boolean => job.status !== "PENDING" && job.status !== "RUNNING";

/** Finds the dashboard of the command's cluster: named, known on this machine, or asked from the GCS. */
export async function openDashboard(session: Session): Promise<DashboardClient> {
  const target = findTarget(session);
  let url = isHttp(target.address) ? target.address.replace(/\/+$/, "") : target.local?.node.dashboard?.address;
  url ??= await withConnection(session, target, async ({ gcs }) => (await gcs.status({}, { retry: true })).dashboardUrl);
  if (url === "")
    throw new CliFailure(
      exitCodes.unreachable,
      "CONNECTION",
      `the cluster at ${target.address} has no dashboard, which jobs need`,
      "see why with: tray logs          (the file dashboard-….log)",
    );
  return DashboardClient.at(url, target, session.context);
}

/** Whom an https:// dashboard's certificate must come from; undefined: whom the system trusts. */
function authorityOf(url: string, { tlsDir }: Target, context: CliContext): Buffer | undefined {
  return tlsDir === undefined || !url.startsWith("https:") ? undefined : readTlsDir(tlsDir, context.clock.wallMs()).ca;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

export class DashboardClient {
  /** @throws CONFIG when the target's TLS directory is not right. */
  static at(url: string, target: Target, context: CliContext): DashboardClient {
    return new DashboardClient(url, target.token, authorityOf(url, target, context), context);
  }

  private constructor(
    readonly url: string,
    private readonly token: string | undefined,
    private readonly ca: Buffer | undefined,
    private readonly context: CliContext,
  ) {}

  async submit(body: object): Promise<string> {
    const answer = await this.send("POST", "/api/jobs/", JSON.stringify(body));
    if (answer.status === 400 && answer.text.includes("already exists"))
      throw new CliFailure(exitCodes.conflict, "CONFLICT", answer.text, "choose another --submission-id");
    if (answer.status === 400) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", answer.text);
    return (JSON.parse(this.must(answer)) as { submission_id: string }).submission_id;
  }
  async job(id: string): Promise<JobDetails> {
    return JSON.parse(this.must(await this.send("GET", `/api/jobs/${encodeURIComponent(id)}`))) as JobDetails;
  }
  async jobs(): Promise<JobDetails[]> {
    return JSON.parse(this.must(await this.send("GET", "/api/jobs/"))) as JobDetails[];
  }
  async stop(id: string): Promise<boolean> {
    return (JSON.parse(this.must(await this.send("POST", `/api/jobs/${encodeURIComponent(id)}/stop`))) as { stopped: boolean }).stopped;
  }
  async delete(id: string): Promise<void> {
    const answer = await this.send("DELETE", `/api/jobs/${encodeURIComponent(id)}`);
    if (answer.text.includes("non-terminal state"))
      throw new CliFailure(exitCodes.conflict, "CONFLICT", answer.text, `stop it first: tray job stop ${id}`);
    this.must(answer);
  }
  async logs(id: string): Promise<string> {
    return (JSON.parse(this.must(await this.send("GET", `/api/jobs/${encodeURIComponent(id)}/logs`))) as { logs: string }).logs;
  }
  async hasPackage(name: string): Promise<boolean> {
    const answer = await this.send("GET", `/api/packages/gcs/${name}`);
    if (answer.status === 404) return false;
    this.must(answer);
    return true;
  }
  async putPackage(name: string, file: string): Promise<void> {
    const answer = await this.send("PUT", `/api/packages/gcs/${name}`, createReadStream(file), statSync(file).size);
    if (answer.status === 413)
      throw new CliFailure(exitCodes.usage, "RESOURCE_EXHAUSTED", answer.text, "name what the job does not need in .trayignore");
    this.must(answer);
  }
  /** Status and text of a health endpoint. */
  health(path: string): Promise<Answer> {
    return this.send("GET", path);
  }

  /**
   * Passes the log on as it grows, until the job has ended; goes on after the connection or the dashboard broke.
   * @throws CliFailure TIMEOUT after `timeoutMs`; the signal's reason when it aborts.
   */
  async tail(id: string, write: (text: string) => void, signal: AbortSignal): Promise<void> {
    let seen = 0; // characters: every connection starts at the beginning of the log
    for (;;) {
      let position = 0;
      const code = await this.tailOnce(id, signal, (text) => {
        const fresh = position + text.length > seen ? text.slice(Math.max(0, seen - position)) : "";
        position += text.length;
        seen = Math.max(seen, position);
        if (fresh !== "") write(fresh);
      });
      signal.throwIfAborted();
      if (code === 1000) return;
      await sleep(this.context.clock, 300, signal);
    }
  }

  private async tailOnce(id: string, signal: AbortSignal, onText: (text: string) => void): Promise<number> {
    const { WebSocket } = await import("ws");
    return await new Promise((resolve, reject) => {
      const socket = new WebSocket(`${this.url.replace(/^http/, "ws")}/api/jobs/${encodeURIComponent(id)}/logs/tail`, {
        headers: this.headers(),
        perMessageDeflate: false,
        ...this.trust(),
      });
      const onAbort = (): void => socket.terminate();
      signal.addEventListener("abort", onAbort, { once: true });
      let refused: unknown;
      socket.on("message", (data: Buffer) => onText(data.toString("utf8")));
      socket.on("unexpected-response", (_request: unknown, response: { statusCode?: number; resume(): void }) => {
        response.resume();
        const status = response.statusCode ?? 0;
        if (status === 404) refused = new CliFailure(exitCodes.notFound, "NOT_FOUND", `Job ${id} does not exist`, "see them all with: tray job list");
        else if (status === 401 || status === 403) refused = unauthenticated(this.url);
        else if (status === 400) refused = new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${id} was not submitted, so it has no log here`);
        socket.terminate();
      });
      socket.on("error", () => undefined); // "close" follows
      socket.on("close", (code: number) => {
        signal.removeEventListener("abort", onAbort);
        if (refused !== undefined) reject(refused as Error);
        else resolve(code);
      });
    });
  }

  private must(answer: Answer): string {
    if (answer.status === 200) return answer.text;
    if (answer.status === 401 || answer.status === 403) throw unauthenticated(this.url);
    if (answer.status === 404) throw new CliFailure(exitCodes.notFound, "NOT_FOUND", answer.text, "see them all with: tray job list");
    if (answer.status === 400) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", answer.text);
    if (answer.status === 503) throw new CliFailure(exitCodes.unreachable, "UNAVAILABLE", answer.text);
    throw new CliFailure(exitCodes.internal, "INTERNAL", `the dashboard answered ${answer.status}: ${answer.text}`, "see its log with: tray logs");
  }

  private trust(): { ca?: Buffer } {
    return this.ca === undefined ? {} : { ca: this.ca };
  }

  private headers(): Record<string, string> {
    return this.token === undefined ? {} : { Authorization: `Bearer ${this.token}` };
  }

  private send(method: string, path: string, body?: string | Readable, bytes?: number): Promise<Answer> {
    const url = new URL(this.url + path);
    const length = typeof body === "string" ? Buffer.byteLength(body) : bytes;
    const headers = {
      ...this.headers(),
      ...(typeof body === "string" ? { "Content-Type": "application/json" } : {}),
      ...(length === undefined ? {} : { "Content-Length": String(length) }),
    };
    return new Promise((resolve, reject) => {
      const unreachable = (error: NodeJS.ErrnoException): void => reject(unreachableAt(this.url, error));
      const request = (url.protocol === "https:" ? httpsRequest : httpRequest)(
        url,
        { method, headers, agent: false, ...this.trust() },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", unreachable);
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
        },
      );
      request.on("error", unreachable);
      if (body === undefined || typeof body === "string") request.end(body);
      else body.on("error", unreachable).pipe(request);
    });
  }
}

function unreachableAt(url: string, error: NodeJS.ErrnoException): CliFailure {
  // Node names verification failures by OpenSSL's constants: SELF_SIGNED_CERT_IN_CHAIN, UNABLE_TO_VERIFY_LEAF_SIGNATURE, ERR_TLS_CERT_ALTNAME_INVALID, …
  if (/CERT|SIGNATURE|ISSUER/.test(error.code ?? "")) {
    return new CliFailure(
      exitCodes.unauthenticated,
      "AUTHENTICATION",
      `the certificate of ${url} is not accepted: ${messageOf(error)}`,
      "name the directory with the cluster's ca.pem: --tls-dir DIR, or TRAY_TLS_DIR",
    );
  }
  return new CliFailure(
    exitCodes.unreachable,
    "CONNECTION",
    `no dashboard answers at ${url}: ${messageOf(error)}`,
    "is the cluster running? see: tray status          (a cluster with TLS has an https:// address)",
  );
}

const unauthenticated = (url: string): CliFailure =>
  new CliFailure(
    exitCodes.unauthenticated,
    "AUTHENTICATION",
    `${url} does not accept this token`,
    "the token must be the head's: copy its ~/.tray/auth_token, or set TRAY_AUTH_TOKEN",
  );
