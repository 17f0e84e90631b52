// Every process of a job: the entrypoint's descendants, its session, and whoever carries the job's id in its environment (daemonised ones included).
import { environmentOf, isSameProcess, listProcesses, type ProcessEntry, signalProcess, withDescendants } from "@tray/node-launcher";
import { type Clock, sleep } from "@tray/common";

export const submissionVariable = "TRAY_JOB_SUBMISSION_ID";
const pollMs = 20;

export function processesOfJob(submissionId: string, entrypointPid: number, supervisorPid: number): ProcessEntry[] {
  const all = listProcesses().filter((p) => p.state !== "Z");
  const roots = all.filter((p) => p.sessionId === entrypointPid || environmentOf(p.pid)?.get(submissionVariable) === submissionId).map((p) => p.pid);
  return withDescendants([entrypointPid, ...roots], all).filter((p) => p.pid !== supervisorPid);
}

/** Asks the processes with `signal`, waits, then kills those that are left and whatever they started meanwhile. */
export async function endProcesses(list: () => ProcessEntry[], signal: NodeJS.Signals, graceMs: number, clock: Clock): Promise<void> {
  const asked = list();
  if (graceMs > 0) {
    for (const p of asked) signalProcess(p.pid, signal);
    const deadline = clock.now() + graceMs;
    while (clock.now() < deadline && asked.some(isSameProcess)) await sleep(clock, pollMs); // grandchildren: /proc is all there is to wait on
  }
  for (let left = dedupe([...asked.filter(isSameProcess), ...list()]); left.length > 0; left = list()) {
    for (const p of left) signalProcess(p.pid, "SIGKILL");
    await sleep(clock, pollMs);
  }
}

const dedupe = (processes: readonly ProcessEntry[]): ProcessEntry[] => [...new Map(processes.map((p) => [p.pid, p])).values()];
