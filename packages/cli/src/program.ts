// The command tree. Commands' code is loaded when a command runs: `tray --version` must not pay for gRPC.
import { Command, Option } from "commander";
import type { CliContext } from "./context.js";
import { CliFailure, exitCodes } from "./failure.js";
import { type GlobalFlags, openSession, type Session } from "./globals.js";

export interface ProgramHost {
  readonly context: CliContext;
  readonly version: string;
  /** What stands behind the file of `tray run`: the program's own. */
  readonly runArgs: readonly string[];
  /** Tells the exit code of the command that ran. */
  done(exitCode: number): void;
}

type Run<A extends unknown[]> = (session: Session, ...args: A) => Promise<number | undefined | void>;

export function createProgram(host: ProgramHost): Command {
  const program = new Command("tray")
    .description("A distributed execution engine for TypeScript and JavaScript: tasks, actors, objects.")
    .version(host.version, "-V, --version", "print the version")
    .helpCommand("help [command]", "explain a command")
    .showHelpAfterError(false);
  addGlobals(program);

  /** An action with the session in front; positional arguments and the command's own flags follow. */
  const action =
    <A extends unknown[]>(run: Run<A>) =>
    async (...all: unknown[]): Promise<void> => {
      const command = all.pop() as Command;
      const session = openSession(host.context, command.optsWithGlobals<GlobalFlags>());
      host.done((await run(session, ...(all as A))) ?? exitCodes.ok);
    };
  const add = (parent: Command, spec: string, description: string): Command => addGlobals(parent.command(spec).description(description), true);

  nodeOptions(
    add(program, "start", "start a cluster's head (--head), or a node that joins one (--address)").option("--head", "start a new cluster here"),
  ).action(action(async (s, flags: object) => (await import("./commands/start.js")).start(s, flags, host.version)));
  add(program, "stop", "end the nodes that the data directory knows")
    .option("--force", "kill at once")
    .option("--grace-period <duration>", "how long nodes may take to end", "10s")
    .option("--all", "end every node of this user on the machine")
    .action(action(async (s, flags: object) => (await import("./commands/stop.js")).stop(s, flags)));
  add(program, "status", "show nodes, load, and what waits and why")
    .option("--watch", "show it again every second")
    .option("--wait-nodes <n>", "wait until so many nodes are alive", natural("--wait-nodes"))
    .action(action(async (s, flags: object) => (await import("./commands/status.js")).status(s, flags)));

  submitOptions(add(program, "submit [command...]", "run a command as a supervised job: tray submit -- node main.js")).action(submitAction());
  const job = add(program, "job", "submitted jobs");
  submitOptions(add(job, "submit [command...]", "the same as tray submit")).action(submitAction());
  add(job, "list", "list jobs").action(action(async (s) => (await import("./commands/jobs.js")).jobList(s)));
  add(job, "status <id>", "show a job").action(action(async (s, id: string) => (await import("./commands/jobs.js")).jobStatus(s, id)));
  add(job, "logs <id>", "print a job's log")
    .option("-f, --follow", "go on until the job has ended")
    .action(action(async (s, id: string, flags: object) => (await import("./commands/jobs.js")).jobLogs(s, id, flags)));
  add(job, "stop <id>", "stop a job")
    .option("--no-wait", "do not wait until it has ended")
    .action(action(async (s, id: string, flags: object) => (await import("./commands/jobs.js")).jobStop(s, id, flags)));
  add(job, "wait <id>", "wait until a job has ended; exit code 0 when it succeeded").action(
    action(async (s, id: string) => (await import("./commands/jobs.js")).jobWait(s, id)),
  );
  add(job, "delete <id>", "forget a job that has ended").action(
    action(async (s, id: string) => (await import("./commands/jobs.js")).jobDelete(s, id)),
  );

  add(program, "list <kind>", "list nodes, actors, workers, objects or jobs")
    .option("--filter <key=value...>", "only those that match; also key!=value", collect)
    .option("--limit <n>", "how many to show", "100")
    .option("--detail", "show every column")
    .action(action(async (s, kind: string, flags: object) => (await import("./commands/list.js")).list(s, kind, flags)));
  add(program, "get <kind> <id>", "show one node, actor, worker, object or job").action(
    action(async (s, kind: string, id: string) => (await import("./commands/list.js")).get(s, kind, id)),
  );
  add(program, "memory", "show the objects of the cluster, and what holds each")
    .option("--group-by <what>", "totals by node or by owner")
    .option("--collect", "let processes collect garbage first: references that are only forgotten hold nothing then")
    .option("--limit <n>", "objects that each node and process may tell of (default 10000)")
    .action(action(async (s, flags: object) => (await import("./commands/memory.js")).memory(s, flags)));
  add(program, "logs [file]", "list log files, or print one")
    .option("-f, --follow", "go on as it grows")
    .option("--tail <n>", "only the last lines")
    .option("--node <id>", "of this node only")
    .action(action(async (s, file: string | undefined, flags: object) => (await import("./commands/logs.js")).logs(s, file, flags)));
  add(program, "health-check", "check that the cluster works; exit code 1 when it does not").action(
    action(async (s) => (await import("./commands/health.js")).healthCheck(s)),
  );

  const token = add(add(program, "auth", "the cluster's token"), "token", "the cluster's token");
  add(token, "show", "print the token that this machine uses").action(action(async (s) => (await import("./commands/auth.js")).showToken(s)));
  add(token, "generate", "write a new token")
    .option("--force", "replace the one that is there")
    .action(action(async (s, flags: object) => (await import("./commands/auth.js")).generateToken(s, flags)));

  const cert = add(program, "cert", "certificates for TLS between all processes");
  add(cert, "init", "make an authority and this machine's certificate (default directory ~/.tray/tls)")
    .option("--host <name...>", "further names and addresses of this machine", collect)
    .option("--days <n>", "how long the certificate is valid", "825")
    .option("--force", "replace the authority that is there; every certificate must be made anew")
    .action(action(async (s, flags: object) => (await import("./commands/cert.js")).initCertificates(s, flags)));
  add(cert, "issue <dir>", "write the TLS directory of another machine, with the authority that init made")
    .option("--host <name...>", "names and addresses under which it is reached", collect)
    .option("--days <n>", "how long the certificate is valid", "825")
    .action(action(async (s, dir: string, flags: object) => (await import("./commands/cert.js")).issueCertificate(s, dir, flags)));

  const config = add(program, "config", "configuration");
  nodeOptions(add(config, "view", "show the settings that a start would have"))
    .option("--show-origin", "tell where each comes from")
    .action(action(async (s, flags: object) => (await import("./commands/config.js")).viewConfig(s, flags)));
  add(config, "validate <file>", "check a configuration file").action(
    action(async (s, file: string) => (await import("./commands/config.js")).validateConfig(s, file)),
  );
  add(config, "schema", "print the JSON schema of configuration files").action(
    action(async (s) => (await import("./commands/config.js")).configSchema(s)),
  );

  add(program, "run <file> [args...]", "run a TypeScript or JavaScript driver").action(
    action(async (s, file: string) => (await import("./commands/run.js")).run(s, file, host.runArgs)),
  );
  add(program, "microbenchmark", "measure tasks, actors and objects on this machine")
    .option("--filter <text,...>", "only the cases whose name contains one of these; also those that take long: transfer, spill, head, queued, …")
    .action(action(async (s, flags: object) => (await import("./commands/microbenchmark.js")).microbenchmark(s, flags)));
  add(program, "version", "print the version").action(
    action(async (s) => {
      if (s.format === "json" || s.format === "yaml")
        await (await import("./output/format.js")).printValue(s.context, s.format, { version: host.version, node: s.context.nodeVersion });
      else s.context.stdout.write(`${host.version}\n`);
    }),
  );
  silence(program);
  return program;

  function submitAction(): (...all: unknown[]) => Promise<void> {
    return action(async (s, command: string[], flags: object) => (await import("./commands/jobs.js")).submit(s, command, flags));
  }
}

function nodeOptions(command: Command): Command {
  return command
    .option("--config <file>", "YAML file with settings")
    .option("--port <port>", "port of the GCS (head; default 7379, 0 picks one)")
    .option("--node-ip <ip>", "address under which others reach this node")
    .option("--node-name <name>", "name for people; default the host's")
    .option("--num-cpus <n>", "default: detected")
    .option("--num-gpus <n>", "default: detected")
    .option("--memory <size>", "memory for tasks and actors")
    .option("--object-store-memory <size>", "shared memory for objects")
    .option("--resources <json>", `custom resources: '{"tpu": 4}'`)
    .option("--labels <a=b,c=d>", "labels for label selectors")
    .option("--dashboard-host <host>", "address that HTTP binds to (default 127.0.0.1)")
    .option("--dashboard-port <port>", "default 8265")
    .option("--metrics-port <port>", "port of this node's metrics")
    .option("--spill-dir <dir,...>", "where objects are spilled")
    .option("--autoscaling-config <file>", "cluster file of the autoscaler")
    .option("--block", "stay in the foreground until the node ends")
    .option("--system-config <json>", "tunables, see tray config schema");
}

function submitOptions(command: Command): Command {
  return command
    .option("--working-dir <dir>", "directory (or .zip) that the job runs in; uploaded once")
    .option("--runtime-env <file>", "YAML file with the runtime environment")
    .option("--runtime-env-json <json>", "the runtime environment as JSON")
    .option("--submission-id <id>", "default: made up")
    .option("--entrypoint-num-cpus <n>", "held while the job runs")
    .option("--entrypoint-num-gpus <n>", "held while the job runs")
    .option("--entrypoint-memory <size>", "held while the job runs")
    .option("--entrypoint-resources <json>", "held while the job runs")
    .option("--entrypoint-label-selector <a=b,...>", "labels of the node to run on")
    .option("--metadata <key=value...>", "kept with the job", collect)
    .option("--no-wait", "print the id and return");
}

/** Global flags stand before or after the command; after it they are not shown in its help again. */
function addGlobals(command: Command, hidden = false): Command {
  const options = [
    new Option("--address <host:port>", "GCS of the cluster, or the dashboard's http:// address"),
    new Option("--token-file <file>", "file with the cluster's token"),
    new Option("--tls-dir <dir>", "directory with ca.pem, cert.pem and key.pem"),
    new Option("--data-dir <dir>", "sessions, logs and address files (default /tmp/tray)"),
    new Option("--timeout <duration>", "give up waiting after this long"),
    new Option("-o, --output <format>", "table, wide, json, yaml or name"),
    new Option("--json", "the same as -o json"),
    new Option("-q, --quiet", "say nothing but the answer"),
    new Option("-v, --verbose", "say more"),
    new Option("--no-color", "no colours"),
  ];
  for (const option of options) command.addOption(hidden ? option.hideHelp() : option);
  return command;
}

/** Errors are thrown, and written by main() in the format that was asked for. */
function silence(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => undefined });
  for (const child of command.commands) silence(child);
}

const collect = (value: string, previous: string[] | undefined): string[] => [...(previous ?? []), value];

function natural(flag: string): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0) throw new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", `${flag}: '${text}' is not a whole number`);
    return value;
  };
}
