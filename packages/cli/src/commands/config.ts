import { textOf } from "@tray/common";
// tray config view|validate|schema
import { configJsonSchema, defaultSystemConfig, loadConfigFile, type Origin } from "@tray/config";
import { exitCodes } from "../failure.js";
import type { Session } from "../globals.js";
import { printValue, renderTable } from "../output/format.js";
import { resolveStart, type StartFlags } from "./node-settings.js";

export async function viewConfig(session: Session, flags: StartFlags & { showOrigin?: boolean }): Promise<number> {
  const resolved = await resolveStart({ head: session.flags.address === undefined, ...flags, ...session.flags }, session.context);
  const [node] = resolved.nodes;
  const systemConfig: Record<string, unknown> = { ...defaultSystemConfig, ...resolved.systemConfig };
  const settings = { ...node?.settings };
  const origins: Record<string, Origin> = { ...node?.origins };
  for (const key of Object.keys(systemConfig)) origins[`systemConfig.${key}`] = resolved.systemConfigOrigins[key] ?? { kind: "default" };
  if (session.format === "json" || session.format === "yaml") {
    const shown = { node: settings, systemConfig };
    await printValue(
      session.context,
      session.format,
      flags.showOrigin === true ? { ...shown, origins: Object.fromEntries(Object.entries(origins).map(([key, o]) => [key, describe(o)])) } : shown,
    );
    return exitCodes.ok;
  }
  const rows = [
    ...Object.entries(settings).map(([key, value]) => ({ key, value })),
    ...Object.entries(systemConfig).map(([key, value]) => ({ key: `systemConfig.${key}`, value })),
  ];
  const text = textOf;
  session.context.stdout.write(
    renderTable(rows, [
      { title: "KEY", value: (r) => r.key },
      { title: "VALUE", value: (r) => text(r.value) },
      ...(flags.showOrigin === true ? [{ title: "ORIGIN", value: (r: { key: string }) => describe(origins[r.key] ?? { kind: "default" }) }] : []),
    ]),
  );
  return exitCodes.ok;
}

/** @throws CONFIG, with file:line:column for every problem */
export async function validateConfig(session: Session, file: string): Promise<number> {
  const config = await loadConfigFile(file);
  if (session.format === "json" || session.format === "yaml")
    await printValue(session.context, session.format, { valid: true, file, nodes: config.nodes.length });
  else
    session.context.stdout.write(
      `${file} is right: ${config.head === undefined ? "" : "a head, "}${config.nodes.length} node${config.nodes.length === 1 ? "" : "s"}, ${Object.keys(config.systemConfig).length} settings\n`,
    );
  return exitCodes.ok;
}

export async function configSchema(session: Session): Promise<number> {
  session.context.stdout.write(`${JSON.stringify(await configJsonSchema(), null, 2)}\n`);
  return exitCodes.ok;
}

function describe(origin: Origin): string {
  return origin.kind === "default" ? "default" : `${origin.kind} ${origin.name}`;
}
