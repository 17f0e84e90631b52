// Who may ask what over HTTP: the token, the Host header, and no browser but this page's own.
//
// Statuses and texts are Ray's: its client turns 401 and 403 into authentication errors, so nothing else may use them.
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface AccessPolicy {
  readonly token: string | undefined;
  /** Host the listener is bound to. */
  readonly boundHost: string;
}

export interface Refusal {
  readonly status: 400 | 401 | 403 | 405 | 421;
  readonly text: string;
}

const open = new Set([
  "/",
  "/favicon.ico",
  "/api/authentication_mode",
  "/api/authenticate",
  "/api/healthz",
  "/api/gcs_healthz",
  "/api/local_raylet_healthz",
  "/-/healthz",
]);
/** Not sec-fetch-mode: Node's own fetch sends it, and a browser that does sends the others with it. */
const browserHeaders = [
  "referer",
  "origin",
  "sec-fetch-dest",
  "sec-fetch-site",
  "sec-fetch-user",
  "access-control-request-method",
  "access-control-request-headers",
];
const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);
export const tokenCookie = "ray-authentication-token";

/** Undefined when the request may pass. */
export function refuse(request: { method: string; path: string; headers: IncomingHttpHeaders }, policy: AccessPolicy): Refusal | undefined {
  const { method, path, headers } = request;
  const host = headers.host;
  // A name that resolves to loopback and is not ours is a page that rebinds its DNS entry to reach us.
  if (isLoopback(policy.boundHost) && host !== undefined && !isLoopback(hostNameOf(host)))
    return { status: 421, text: `this server is not ${hostNameOf(host)}` };
  if (policy.token !== undefined && !open.has(path) && !path.startsWith("/static/")) {
    const shown = shownToken(headers);
    if (shown === undefined) return { status: 401, text: "Unauthorized: Missing authentication token" };
    if (!sameToken(shown, policy.token)) return { status: 403, text: "Forbidden: Invalid authentication token" };
  }
  if (!safeMethods.has(method) && path !== "/api/authenticate" && isBrowser(headers))
    return { status: 405, text: `'${method}' method not allowed for browser traffic.` };
  // WebSocket handshakes are GETs that pages of any origin may make.
  const origin = headers.origin;
  if (headers.upgrade !== undefined && origin !== undefined && originHost(origin) !== host)
    return { status: 400, text: `origin ${origin} may not open a WebSocket here` };
  return undefined;
}

/** Bearer token of either header, or the cookie. */
export function shownToken(headers: IncomingHttpHeaders): string | undefined {
  const own = headers["x-ray-authorization"];
  for (const value of [headers.authorization, typeof own === "string" ? own : undefined]) {
    const match = value === undefined ? null : /^bearer\s+(.+)$/i.exec(value);
    if (match?.[1] !== undefined) return match[1].trim();
  }
  for (const part of headers.cookie?.split(";") ?? []) {
    const at = part.indexOf("=");
    if (at > 0 && part.slice(0, at).trim() === tokenCookie) return part.slice(at + 1).trim();
  }
  return undefined;
}

/** In constant time; hashing first makes lengths equal. */
export function sameToken(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function isBrowser(headers: IncomingHttpHeaders): boolean {
  return (headers["user-agent"]?.startsWith("Mozilla") ?? false) || browserHeaders.some((name) => headers[name] !== undefined);
}

function hostNameOf(host: string): string {
  return host.startsWith("[") ? host.slice(0, host.indexOf("]") + 1) : (host.split(":")[0] ?? host);
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
