// From arguments to exit code.
import { CommanderError } from "commander";
import pc from "picocolors";
import { type CliContext, Interrupted } from "./context.js";
import { CliFailure, exitCodes, reportOf } from "./failure.js";
import { createProgram } from "./program.js";

/** Runs one command. @returns the exit code; everything that was to be said has been written. */
export async function main(argv: readonly string[], context: CliContext, version: string): Promise<number> {
  const { own, runArgs } = splitRun(argv);
  let exitCode: number = exitCodes.ok;
  const program = createProgram({ context, version, runArgs, done: (code) => (exitCode = code) });
  program.configureOutput({ writeOut: (text) => context.stdout.write(text), writeErr: () => undefined });
  for (const command of allCommands(program)) command.configureOutput({ writeOut: (text) => context.stdout.write(text), writeErr: () => undefined });
  try {
    await program.parseAsync([...own], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.code === "commander.help" && own.length === 0) context.stdout.write(program.helpInformation());
      if (error.exitCode === 0 || (error.code === "commander.help" && own.length === 0)) return exitCodes.ok;
      return fail(usageFailure(error, own), own, context);
    }
    return fail(error, own, context);
  }
}

function fail(error: unknown, argv: readonly string[], context: CliContext): number {
  if (error instanceof Interrupted) return error.exitCode;
  const report = reportOf(error);
  const { code, message, hint, lines } = report;
  if (wantsJson(argv)) {
    context.stderr.write(`${JSON.stringify({ error: { code, message, hint: hint ?? null } })}\n`);
    return report.exitCode;
  }
  const colors = pc.createColors(context.stderr.isTTY && !context.env["NO_COLOR"] && !argv.includes("--no-color"));
  context.stderr.write(`${colors.red("error:")} ${message}\n`);
  for (const line of lines) context.stderr.write(`  ${colors.dim(line)}\n`);
  if (hint !== undefined) context.stderr.write(`${colors.cyan("hint:")} ${hint}\n`);
  return report.exitCode;
}

/** commander's message without its prefix; its suggestion becomes the hint. */
function usageFailure(error: CommanderError, argv: readonly string[]): CliFailure {
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = rest
    .join(" ")
    .replace(/^\(|\)$/g, "")
    .trim();
  if (error.code === "commander.help")
    return new CliFailure(
      exitCodes.usage,
      "INVALID_ARGUMENT",
      `tray ${argv.filter((a) => !a.startsWith("-")).join(" ")} needs a subcommand`,
      `see: tray ${argv[0] ?? ""} --help`,
    );
  const dashes = argv.includes("submit") && !argv.includes("--") ? "put the job's command behind --: tray submit -- CMD ARGS…" : "see: tray --help";
  return new CliFailure(exitCodes.usage, "INVALID_ARGUMENT", first, suggestion === "" ? dashes : suggestion);
}

const valued = new Set(["--address", "--token-file", "--tls-dir", "--data-dir", "--timeout", "-o", "--output"]);

/** `tray run FILE ARGS…`: what stands behind FILE is the program's, flags included. */
export function splitRun(argv: readonly string[]): { own: readonly string[]; runArgs: readonly string[] } {
  let seen = 0;
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] as string;
    if (arg === "--" && seen === 0) break;
    if (arg.startsWith("-") && arg !== "--") {
      if (valued.has(arg)) i++;
      continue;
    }
    if (arg === "--") continue;
    if (seen === 0 && arg !== "run") break;
    if (++seen === 2) return { own: argv.slice(0, i + 1), runArgs: argv.slice(i + 1) };
  }
  return { own: argv, runArgs: [] };
}

/** Asked of the arguments themselves: they may not have parsed. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  const flags = end < 0 ? argv : argv.slice(0, end);
  return flags.some(
    (arg, i) =>
      arg === "--json" || arg === "-ojson" || arg === "--output=json" || (arg === "json" && (flags[i - 1] === "-o" || flags[i - 1] === "--output")),
  );
}

function* allCommands(command: ReturnType<typeof createProgram>): Generator<ReturnType<typeof createProgram>, void> {
  for (const child of command.commands) {
    yield child;
    yield* allCommands(child);
  }
}
