// GET /metrics of a raylet's process, in Prometheus' text format: what its parts count. The cluster's view is the dashboard's.
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { messageOf, type Metrics, type Sample, TrayError } from "@tray/common";

export interface MetricsServerOptions {
  readonly metrics: Metrics;
  /** What every request must carry as a bearer token; undefined where the cluster has none. */
  readonly token: string | undefined;
  /** HTTPS when given; clients show no certificate. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
  /** On every sample. */
  readonly labels: Readonly<Record<string, string>>;
}

export class MetricsServer {
  private readonly server: Server;

  constructor(private readonly options: MetricsServerOptions) {
    const answer = (request: IncomingMessage, response: ServerResponse): void => this.answer(request, response);
    const { tls } = options;
    this.server = tls === undefined ? createServer(answer) : createTlsServer({ cert: tls.cert, key: tls.key }, answer);
  }

  /** @param port 0 for any. @returns the port. @throws CONFLICT when it is taken. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once("error", (error) =>
        reject(
          new TrayError("CONFLICT", `the metrics port ${host}:${port} (--metrics-port) cannot be bound: ${messageOf(error)}`, {
            hint: "choose another one (0: any free one)",
            cause: error,
          }),
        ),
      );
      this.server.listen(port, host, () => resolve((this.server.address() as AddressInfo).port));
    });
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const say = (status: number, text: string, type = "text/plain; charset=utf-8"): void =>
      void response.writeHead(status, { "Content-Type": type }).end(text);
    const { token, metrics, labels } = this.options;
    if (token !== undefined && !carries(request, token)) return say(401, "Unauthorized: the cluster's token is needed (Authorization: Bearer …)\n");
    if ((request.url ?? "").split("?", 1)[0] !== "/metrics") return say(404, "only /metrics is here\n");
    if (request.method !== "GET" && request.method !== "HEAD") return say(405, "only GET\n");
    say(200, renderSamples(metrics.collect(), labels), "text/plain; version=0.0.4; charset=utf-8");
  }
}

/** Samples of one name stand together, under their type; names that end in "_total" are counters. */
export function renderSamples(samples: readonly Sample[], common: Readonly<Record<string, string>>): string {
  const byName = new Map<string, Sample[]>();
  for (const sample of samples) byName.set(sample.name, [...(byName.get(sample.name) ?? []), sample]);
  const lines: string[] = [];
  for (const [name, group] of [...byName].sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`# TYPE ${name} ${name.endsWith("_total") ? "counter" : "gauge"}`);
    for (const { labels, value } of group) {
      const pairs = Object.entries({ ...common, ...labels }).map(([key, text]) => `${key}="${escape(text)}"`);
      lines.push(`${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

const escape = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

/** In constant time; hashing first makes lengths equal. */
function carries({ headers }: IncomingMessage, token: string): boolean {
  const shown = /^bearer\s+(.+)$/i.exec(headers.authorization ?? "")?.[1]?.trim() ?? "";
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(shown), digest(token));
}
