// tray start: a head, or a node that joins one.
import {
  commandsIn,
  ensureTokenFile,
  gcsAddressOf,
  headSession,
  isRunning,
  liveSessionNames,
  listLocalNodes,
  newSessionName,
  nodeLayout,
  type NodeLayout,
  type NodePlan,
  planNode,
  readTlsDir,
  readToken,
  removeOldSessions,
  removeStaleArenas,
  secretsFor,
  sessionLayout,
  type Secrets,
  type SessionLayout,
  signalProcess,
  type StartedNode,
  startNode,
  sweepDeadNodes,
  tlsDirOf,
  tokenSource,
} from "@tray/node-launcher";
import { parseSystemConfig } from "@tray/config";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { withConnection } from "../connection.js";
import { CliFailure, exitCodes } from "../failure.js";
import { checkAddress, type Session } from "../globals.js";
import { printValue } from "../output/format.js";
import { addressTowards, isLoopbackHost, ownAddress, portIsFree } from "./network.js";
import { type ResolvedNode, type ResolvedStart, resolveStart, type StartFlags } from "./node-settings.js";

const startTimeoutMs = 30_000;
const stopGraceMs = 5_000;

export async function start(session: Session, flags: StartFlags, version: string): Promise<number> {
  const { context } = session;
  const resolved = await resolveStart({ ...flags, ...session.flags }, context);
  const first = resolved.nodes[0];
  if (first === undefined || (!first.isHead && first.settings.address === undefined)) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      "say what to start",
      "a new cluster: tray start --head          a node of one: tray start --address HOST:PORT",
    );
  }
  if (flags.head === true && session.flags.address !== undefined) {
    throw new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      "--head and --address exclude each other",
      "a head is a new cluster; --address joins one",
    );
  }
  if (first.settings.autoscalingConfig !== undefined)
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", "--autoscaling-config: this version of tray has no autoscaler");
  const live = liveSessionNames();
  removeStaleArenas((name) => live.has(name));
  const { dataDir } = first.settings;
  sweepDeadNodes(dataDir);
  const { sessionHistoryMax, sessionHistoryAge } = parseSystemConfig(resolved.systemConfig);
  removeOldSessions(dataDir, {
    nowMs: context.clock.wallMs(),
    sessionsMax: sessionHistoryMax,
    ageMaxMs: sessionHistoryAge,
    isLive: (name) => live.has(name),
  });
  const block = first.settings.block === true;
  const started: StartedNode[] = [];
  try {
    for (const node of resolved.nodes) {
      const gcsAddress = started[0]?.report.gcsAddress;
      const plan = await planFor(session, node, resolved, block, gcsAddress);
      started.push(await startNode(plan, { env: context.env, clock: context.clock }, context.interruption));
      await announce(session, node, plan, started.at(-1) as StartedNode, version);
    }
  } catch (error) {
    for (const node of started.reverse()) node.signal("SIGTERM"); // nothing stays behind of a start that failed
    await Promise.all(started.map((node) => node.exited));
    throw error;
  }
  if (block) return await attend(session, started);
  for (const node of started) node.detach();
  return exitCodes.ok;
}

async function planFor(session: Session, node: ResolvedNode, resolved: ResolvedStart, block: boolean, joins: string | undefined): Promise<NodePlan> {
  const { context } = session;
  const { settings } = node;
  const commands = commandsIn(context.binDir, context.execPath);
  if (node.isHead) {
    const present = headSession(settings.dataDir);
    if (present.kind === "continue") {
      // A new supervisor takes over what still lives, so the old one must not restart things beside it.
      if (present.node.supervisorPid !== undefined) signalProcess(present.node.supervisorPid, "SIGKILL");
      session.say(`continuing the cluster of session ${present.node.plan.sessionName}, whose head had died`);
      // Its nodes look for it where it served, though the plan may have said "any port".
      const { gcs, ...plan } = present.node.plan;
      return {
        ...plan,
        ...(gcs === undefined ? {} : { gcs: { ...gcs, listen: withPortOf(gcs.listen, gcsAddressOf(present.node)) } }),
        commands,
        endWithStarter: block,
      };
    }
  }
  const gcsAddress = node.isHead ? undefined : (joins ?? settings.address);
  if (gcsAddress !== undefined) checkAddress(gcsAddress);
  const nodeIp = settings.nodeIp ?? (gcsAddress === undefined ? ownAddress() : await routeTo(gcsAddress));
  const layout = chooseLayout(session, node, gcsAddress);
  const lookup = {
    env: context.env,
    homeDir: context.homeDir,
    tokenFile: settings.tokenFile === context.env["TRAY_AUTH_TOKEN_PATH"] ? undefined : settings.tokenFile,
  };
  const known = gcsAddress === undefined ? undefined : secretsFor(settings.dataDir, gcsAddress);
  const clusterTokenFile = known?.tokenFile;
  const tlsDir = tlsDirFor(session, node, known);
  if (!node.isHead && readToken(tokenSource({ ...lookup, clusterTokenFile })) === undefined) {
    throw new CliFailure(
      exitCodes.unauthenticated,
      "AUTHENTICATION",
      "there is no token to join with",
      `copy ~/.tray/auth_token from the head of ${gcsAddress}, or set TRAY_AUTH_TOKEN`,
    );
  }
  // Asked before anything is started: a wrong address, token or version is one clear line at once, not a raylet's end after its time to connect.
  if (gcsAddress !== undefined && joins === undefined)
    await withConnection(
      session,
      { address: gcsAddress, token: readToken(tokenSource({ ...lookup, clusterTokenFile })), tlsDir, local: undefined },
      async () => {},
    );
  const options = {
    node: layout,
    commands,
    tokenFile: ensureTokenFile({ ...lookup, clusterTokenFile }, layout.tokenFile, context.random),
    tlsDir,
    logLevel: logLevelOf(settings.logLevel),
    nodeIp,
    bindHost: isLoopbackHost(nodeIp) ? "127.0.0.1" : "0.0.0.0",
    numCpus: settings.numCpus,
    numGpus: settings.numGpus,
    memoryBytes: settings.memory,
    objectStoreBytes: settings.objectStoreMemory,
    resources: settings.resources,
    labels: settings.labels,
    spillDirs: settings.spillDir,
    metricsPort: settings.metricsPort,
    systemConfig: resolved.systemConfig,
    endWithStarter: block,
    startTimeoutMs: session.timeoutMs ?? startTimeoutMs,
    stopGraceMs,
  };
  if (gcsAddress !== undefined) return planNode(options, { gcsAddress });
  return planNode(options, { head: { port: settings.port ?? 0, dashboard: await dashboardOf(node) } });
}

/** Checked here: what is wrong with it is one clear line at once, not a daemon's last words. Absolute, because daemons run elsewhere. */
function tlsDirFor({ context }: Session, { settings, origins }: ResolvedNode, known: Secrets | undefined): string | undefined {
  const given = origins["tlsDir"]?.kind === "environment" ? undefined : settings.tlsDir;
  const dir = tlsDirOf({ env: context.env, tlsDir: given, cluster: known });
  if (dir === undefined) return undefined;
  const absolute = resolve(context.cwd, dir);
  readTlsDir(absolute, context.clock.wallMs());
  return absolute;
}

const withPortOf = (listen: string, served: string): string => listen.slice(0, listen.lastIndexOf(":")) + served.slice(served.lastIndexOf(":"));

/** The default port gives way to a free one when something else (another head) has it; a port that was asked for does not. */
async function dashboardOf(node: ResolvedNode): Promise<{ host: string; port: number }> {
  const host = node.settings.dashboardHost ?? "127.0.0.1";
  const port = node.settings.dashboardPort ?? 0;
  const asked = node.origins["dashboardPort"]?.kind !== "default";
  return { host, port: asked || port === 0 || (await portIsFree(host, port)) ? port : 0 };
}

async function routeTo(gcsAddress: string): Promise<string> {
  const at = gcsAddress.lastIndexOf(":");
  return await addressTowards(gcsAddress.slice(0, at), Number(gcsAddress.slice(at + 1)));
}

/** A joining node shares the session of its head when that runs here; otherwise it has one of its own. */
function chooseLayout({ context }: Session, node: ResolvedNode, gcsAddress: string | undefined): NodeLayout {
  const { dataDir, nodeName } = node.settings;
  const here = listLocalNodes(dataDir).filter(isRunning);
  const mate =
    gcsAddress === undefined
      ? undefined
      : here.find((n) => n.plan.raylet.gcsAddress === gcsAddress || n.gcs?.address === gcsAddress || samePort(n.gcs?.address, gcsAddress));
  const session: SessionLayout = mate?.layout.session ?? sessionLayout(dataDir, newSessionName(context.clock.wallMs(), context.random));
  const taken = new Set(here.filter((n) => n.layout.session.name === session.name).map((n) => n.layout.nodeName));
  const base =
    nodeName ??
    hostname()
      .replace(/[^A-Za-z0-9_.-]/g, "-")
      .slice(0, 60);
  if (!/^[A-Za-z0-9_.-]+$/.test(base) || base.startsWith(".")) {
    throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `node name '${base}' is not a plain name`, "use letters, digits, and _ . -");
  }
  if (nodeName !== undefined && taken.has(nodeName))
    throw new CliFailure(exitCodes.conflict, "NAME_TAKEN", `a node named ${nodeName} runs here already`, "choose another --node-name");
  let name = base;
  for (let i = 2; taken.has(name); i++) name = `${base}-${i}`;
  return nodeLayout(session, name);
}

/** The same GCS by another name of this machine: 127.0.0.1:7379 for 10.0.0.5:7379. */
function samePort(address: string | undefined, other: string): boolean {
  if (address === undefined) return false;
  const [host = "", port] = other.split(":");
  return isLoopbackHost(host) && address.endsWith(`:${port}`);
}

async function announce(session: Session, node: ResolvedNode, plan: NodePlan, started: StartedNode, version: string): Promise<void> {
  const { context, format } = session;
  const { report } = started;
  const logsDir = `${started.sessionDir}/logs`;
  if (format === "json" || format === "yaml") {
    const { gcsAddress, nodeId, rayletAddress, supervisorPid } = report;
    return await printValue(context, format, {
      sessionName: plan.sessionName,
      gcsAddress,
      dashboardUrl: report.dashboardUrl ?? null,
      metricsUrl: report.metricsUrl ?? null,
      nodeId,
      nodeName: plan.nodeName,
      isHead: plan.isHead,
      rayletAddress,
      supervisorPid,
      sessionDir: started.sessionDir,
      logsDir,
    });
  }
  if (session.flags.quiet === true) return;
  const tokenFile = plan.raylet.tokenFile ?? "-";
  const metrics = report.metricsUrl === undefined ? "" : `\n  Metrics  ${report.metricsUrl}`;
  const shown = tokenFile.startsWith(`${context.homeDir}/`) ? `~${tokenFile.slice(context.homeDir.length)}` : tokenFile;
  if (!node.isHead) {
    context.stdout.write(
      `tray ${version} node ${plan.nodeName} joined ${report.gcsAddress} (node ${report.nodeId.slice(0, 8)})\n  Logs  ${logsDir}${metrics}\nStop:  tray stop\n`,
    );
    return;
  }
  context.stdout.write(
    [
      `tray ${version} head started on ${plan.raylet.advertiseHost} (session ${plan.sessionName})`,
      `  GCS        ${report.gcsAddress.padEnd(20)} Dashboard  ${report.dashboardUrl ?? "-"}        Logs  ${plan.dataDir}/session_latest/logs`,
      `  Auth       token (${shown})${plan.raylet.tlsDir === undefined ? "" : `, TLS (${plan.raylet.tlsDir})`}${metrics}`,
      `Add a node:  tray start --address ${report.gcsAddress}          (with the same token file${plan.raylet.tlsDir === undefined ? "" : ", and certificates: tray cert issue"})`,
      "Run a job:   tray submit -- node main.js                 Stop:  tray stop",
      "",
    ].join("\n"),
  );
}

/** --block: until the node ends or we are told to go. */
async function attend(session: Session, started: readonly StartedNode[]): Promise<number> {
  const { interruption } = session.context;
  const end = (): void => {
    for (const node of started) node.signal("SIGTERM");
  };
  if (interruption.aborted) end();
  else interruption.addEventListener("abort", end, { once: true });
  const codes = await Promise.all(started.map((node) => node.exited.then((code) => (end(), code))));
  if (interruption.aborted) throw interruption.reason;
  const failed = codes.find((code) => code !== 0);
  if (failed === undefined) return exitCodes.ok;
  throw new CliFailure(exitCodes.failed, "NODE_DIED", "the node has ended: its raylet died", `see ${started[0]?.sessionDir}/logs`);
}

function logLevelOf(text: string): "debug" | "info" | "warn" | "error" {
  if (text === "debug" || text === "info" || text === "warn" || text === "error") return text;
  throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `log level '${text}' is not known`, "TRAY_LOG_LEVEL is one of debug, info, warn, error");
}
