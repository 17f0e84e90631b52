// The cluster's token: where it is looked for, and how the first one is made.
//
// Order: --token-file, TRAY_AUTH_TOKEN (the token itself), TRAY_AUTH_TOKEN_PATH, the token file of the cluster that was found on this machine, ~/.tray/auth_token.
import { type Random, TrayError } from "@tray/common";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export type Environment = Readonly<Record<string, string | undefined>>;

export type TokenSource =
  | { readonly kind: "file"; readonly file: string; readonly origin: "flag" | "environment" | "cluster" | "default" }
  | { readonly kind: "value"; readonly token: string; readonly origin: "environment" };

export interface TokenLookup {
  readonly env: Environment;
  readonly homeDir: string;
  /** --token-file. */
  readonly tokenFile?: string | undefined;
  /** Of a cluster found on this machine. */
  readonly clusterTokenFile?: string | undefined;
}

export const defaultTokenFile = (homeDir: string): string => join(homeDir, ".tray", "auth_token");

export function tokenSource(lookup: TokenLookup): TokenSource {
  if (lookup.tokenFile !== undefined) return { kind: "file", file: lookup.tokenFile, origin: "flag" };
  const value = lookup.env["TRAY_AUTH_TOKEN"]?.trim();
  if (value !== undefined && value !== "") return { kind: "value", token: value, origin: "environment" };
  const path = lookup.env["TRAY_AUTH_TOKEN_PATH"];
  if (path !== undefined && path !== "") return { kind: "file", file: path, origin: "environment" };
  if (lookup.clusterTokenFile !== undefined) return { kind: "file", file: lookup.clusterTokenFile, origin: "cluster" };
  return { kind: "file", file: defaultTokenFile(lookup.homeDir), origin: "default" };
}

/** The token, or undefined when the default file does not exist. @throws AUTHENTICATION for a file that was named and cannot be read or is empty. */
export function readToken(source: TokenSource): string | undefined {
  if (source.kind === "value") return source.token;
  let token: string;
  try {
    token = readFileSync(source.file, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT" && source.origin === "default") return undefined;
    throw new TrayError("AUTHENTICATION", `cannot read the token file ${source.file}: ${(error as NodeJS.ErrnoException).code}`, {
      hint: "copy ~/.tray/auth_token from the head, or make one with: tray auth token generate",
      cause: error,
    });
  }
  if (token === "")
    throw new TrayError("AUTHENTICATION", `the token file ${source.file} is empty`, { hint: "write a new one with: tray auth token generate" });
  return token;
}

/** 256 bits as hex. */
export const newToken = (random: Random): string => random.hex(32);

/** Writes a token for its owner's eyes only. `exclusive`: fails with EEXIST rather than replace one (two first starts at once must agree). */
export function writeTokenFile(file: string, token: string, options: { exclusive: boolean }): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, `${token}\n`, { mode: 0o600, flag: options.exclusive ? "wx" : "w" });
}

/** The file that daemons read: the given one; made first when it is the default and missing; `copyTo` for a token that came by value. */
export function ensureTokenFile(lookup: TokenLookup, copyTo: string, random: Random): string {
  const source = tokenSource(lookup);
  if (source.kind === "value") {
    writeTokenFile(copyTo, source.token, { exclusive: false });
    return copyTo;
  }
  if (readToken(source) === undefined) {
    try {
      writeTokenFile(source.file, newToken(random), { exclusive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error; // EEXIST: another start was first; its token is the token
    }
  }
  return source.file;
}
