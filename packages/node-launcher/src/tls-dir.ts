// The TLS directory: ca.pem (the cluster's authority), cert.pem and key.pem (this machine's own). Where it is looked for, and what must be right about it.
//
// Order: --tls-dir, TRAY_TLS_DIR, then what the cluster that was found on this machine was started with. Whether a cluster speaks TLS is a fact and no wish: for one
// of this machine that was started without, the variable counts for nothing.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { messageOf, TrayError } from "@tray/common";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Environment } from "./auth-token.js";

export const tlsDirVariable = "TRAY_TLS_DIR";

/** PEM. */
export interface TlsIdentity {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface TlsLookup {
  readonly env: Environment;
  /** --tls-dir. */
  readonly tlsDir?: string | undefined;
  /** Set when the cluster was found on this machine; what it was started with. */
  readonly cluster?: { readonly tlsDir: string | undefined } | undefined;
}

/** Undefined: no TLS. */
export function tlsDirOf({ env, tlsDir, cluster }: TlsLookup): string | undefined {
  if (tlsDir !== undefined) return tlsDir;
  if (cluster !== undefined && cluster.tlsDir === undefined) return undefined;
  return env[tlsDirVariable] || cluster?.tlsDir;
}

/** @throws CONFIG naming the file and what is wrong with it: missing, no PEM, expired, or a key and a certificate that do not belong together. */
export function readTlsDir(dir: string, nowMs: number): TlsIdentity {
  const read = (name: string): Buffer => {
    try {
      return readFileSync(join(dir, name));
    } catch (error) {
      throw broken(dir, `${join(dir, name)} cannot be read: ${(error as NodeJS.ErrnoException).code ?? messageOf(error)}`, error);
    }
  };
  const identity = { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
  const ca = certificate(dir, "ca.pem", identity.ca, nowMs);
  const cert = certificate(dir, "cert.pem", identity.cert, nowMs);
  let matches: boolean;
  try {
    matches = cert.checkPrivateKey(createPrivateKey(identity.key));
  } catch (error) {
    throw broken(dir, `${join(dir, "key.pem")} is not a private key: ${messageOf(error)}`, error);
  }
  if (!matches) throw broken(dir, `${join(dir, "key.pem")} is not the key of cert.pem`);
  // With intermediate authorities cert.pem is a chain, and the first of it need not be the authority's own.
  if (identity.cert.toString("latin1").split("-----BEGIN CERTIFICATE-----").length === 2 && !cert.checkIssued(ca))
    throw broken(dir, `${join(dir, "cert.pem")} was not issued by the authority in ca.pem`);
  return identity;
}

function certificate(dir: string, name: string, pem: Buffer, nowMs: number): X509Certificate {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(pem);
  } catch (error) {
    throw broken(dir, `${join(dir, name)} is not a certificate: ${messageOf(error)}`, error);
  }
  if (Date.parse(parsed.validTo) < nowMs) throw broken(dir, `${join(dir, name)} has expired: it was valid to ${parsed.validTo}`);
  return parsed;
}

function broken(dir: string, message: string, cause?: unknown): TrayError {
  return new TrayError("CONFIG", message, {
    cause,
    hint: `a TLS directory holds ca.pem, cert.pem and key.pem: make the head's with: tray cert init, another machine's with: tray cert issue; then name it with --tls-dir or ${tlsDirVariable} (now ${dir})`,
  });
}
