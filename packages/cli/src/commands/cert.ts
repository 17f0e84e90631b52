// tray cert init|issue: what a TLS directory holds, made without other tools. ca-key.pem stays where init wrote it: whoever has it can make certificates for the cluster.
import { readTlsDir, tlsDirVariable } from "@tray/node-launcher";
import { createPrivateKey } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname, networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { type CertificateTerms, issue, makeAuthority } from "../certificate/x509.js";
import { CliFailure, exitCodes } from "../failure.js";
import type { Session } from "../globals.js";
import { printValue } from "../output/format.js";

interface CertFlags {
  host?: string[];
  days?: string;
  force?: boolean;
}

const dayMs = 86_400_000;
const authorityDays = 3650;
/** Machines' clocks differ: a certificate is valid a little before it was made. */
const clockSkewMs = 3_600_000;

/** --tls-dir > TRAY_TLS_DIR > ~/.tray/tls */
function ownDir({ context, flags }: Session): string {
  return resolve(context.cwd, flags.tlsDir ?? (context.env[tlsDirVariable] || join(context.homeDir, ".tray", "tls")));
}

export async function initCertificates(session: Session, flags: CertFlags): Promise<number> {
  const { context } = session;
  const dir = ownDir(session);
  if (existsSync(join(dir, "ca-key.pem")) && flags.force !== true) {
    throw new CliFailure(
      exitCodes.conflict,
      "CONFLICT",
      `${dir} holds an authority already`,
      "make a machine's certificate with: tray cert issue DIR --host NAME          or replace the authority with --force",
    );
  }
  const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((entry) => entry.address.split("%")[0] ?? ""));
  const hosts = distinct(["localhost", "127.0.0.1", "::1", hostname(), ...addresses, ...(flags.host ?? [])]);
  const authority = makeAuthority(terms(session, `tray authority ${context.random.hex(4)}`, authorityDays));
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  writeFileSync(join(dir, "ca-key.pem"), authority.keyPem, { mode: 0o600 });
  writeMachine(session, dir, authority.certPem, authority.keyPem, hosts, flags);
  return await tell(session, dir, hosts, `start the head with: tray start --head --tls-dir ${dir}`);
}

export async function issueCertificate(session: Session, target: string, flags: CertFlags): Promise<number> {
  const authorityDir = ownDir(session);
  const dir = resolve(session.context.cwd, target);
  const hosts = distinct(flags.host ?? []);
  if (hosts.length === 0)
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      "for which machine?",
      "tray cert issue DIR --host 10.0.0.6 --host worker-6.example.org",
    );
  if (!existsSync(join(authorityDir, "ca-key.pem")))
    throw new CliFailure(
      exitCodes.notFound,
      "NOT_FOUND",
      `${authorityDir} has no authority (ca-key.pem)`,
      "make one with: tray cert init          (on one machine, once)",
    );
  if (dir === authorityDir || existsSync(join(dir, "key.pem")))
    throw new CliFailure(exitCodes.conflict, "CONFLICT", `${dir} holds a certificate already`, "name another directory, or remove that one");
  const [ca, key] = [readFileSync(join(authorityDir, "ca.pem"), "utf8"), readFileSync(join(authorityDir, "ca-key.pem"), "utf8")];
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  // That machine also talks to itself by its loopback names.
  writeMachine(session, dir, ca, key, distinct(["localhost", "127.0.0.1", "::1", ...hosts]), flags);
  return await tell(session, dir, hosts, "copy the directory to that machine, and start its node with: tray start --address HOST:PORT --tls-dir DIR");
}

function writeMachine(session: Session, dir: string, caPem: string, caKeyPem: string, hosts: readonly string[], flags: CertFlags): void {
  const days = Number(flags.days ?? "825");
  if (!(days > 0 && days <= authorityDays))
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--days: '${flags.days}' is not a number of days from 1 to ${authorityDays}`);
  const wrong = hosts.find((host) => !/^[A-Za-z0-9.:*_-]+$/.test(host));
  if (wrong !== undefined) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `--host: '${wrong}' is neither a name nor an address`);
  const made = issue({ certPem: caPem, key: createPrivateKey(caKeyPem) }, terms(session, hosts.at(-1) ?? "tray", days), hosts);
  writeFileSync(join(dir, "ca.pem"), caPem, { mode: 0o644 });
  writeFileSync(join(dir, "cert.pem"), made.certPem, { mode: 0o644 });
  writeFileSync(join(dir, "key.pem"), made.keyPem, { mode: 0o600 });
  readTlsDir(dir, session.context.clock.wallMs());
}

function terms({ context }: Session, name: string, days: number): CertificateTerms {
  const nowMs = context.clock.wallMs();
  return { name: name.slice(0, 64), serial: `01${context.random.hex(15)}`, validFromMs: nowMs - clockSkewMs, validToMs: nowMs + days * dayMs };
}

async function tell(session: Session, dir: string, hosts: readonly string[], next: string): Promise<number> {
  if (session.format === "json" || session.format === "yaml") await printValue(session.context, session.format, { dir, hosts });
  else session.context.stdout.write(`${dir}\n`);
  session.say(next);
  return exitCodes.ok;
}

const distinct = (hosts: readonly string[]): string[] => [...new Set(hosts.filter((host) => host !== ""))];
