// tray auth token show|generate
import { newToken, readToken, type TokenLookup, tokenSource, writeTokenFile } from "@tray/node-launcher";
import { existsSync } from "node:fs";
import { CliFailure, exitCodes } from "../failure.js";
import type { Session } from "../globals.js";
import { printValue } from "../output/format.js";

const lookupOf = ({ context, flags }: Session): TokenLookup => ({ env: context.env, homeDir: context.homeDir, tokenFile: flags.tokenFile });

export async function showToken(session: Session): Promise<number> {
  const source = tokenSource(lookupOf(session));
  const token = readToken(source);
  if (token === undefined) {
    throw new CliFailure(
      exitCodes.notFound,
      "NOT_FOUND",
      `there is no token yet (${source.kind === "file" ? source.file : "TRAY_AUTH_TOKEN"})`,
      "make one with: tray auth token generate          (the first tray start --head does)",
    );
  }
  if (session.format === "json" || session.format === "yaml")
    await printValue(session.context, session.format, { token, source: source.kind === "file" ? source.file : "TRAY_AUTH_TOKEN" });
  else session.context.stdout.write(`${token}\n`);
  return exitCodes.ok;
}

export async function generateToken(session: Session, flags: { force?: boolean }): Promise<number> {
  const source = tokenSource(lookupOf(session));
  if (source.kind === "value")
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      "TRAY_AUTH_TOKEN is set, so a token file would not be read",
      "unset TRAY_AUTH_TOKEN, or name a file with --token-file",
    );
  if (existsSync(source.file) && flags.force !== true) {
    throw new CliFailure(
      exitCodes.conflict,
      "CONFLICT",
      `${source.file} holds a token already`,
      "replace it with --force; running clusters keep the old one, and their nodes must be restarted with the new one",
    );
  }
  writeTokenFile(source.file, newToken(session.context.random), { exclusive: flags.force !== true });
  if (session.format === "json" || session.format === "yaml") await printValue(session.context, session.format, { file: source.file });
  else session.context.stdout.write(`${source.file}\n`);
  return exitCodes.ok;
}
