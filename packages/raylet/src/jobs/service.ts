// JobService: the supervisors of submitted jobs on this node. What a supervisor does is its own business; here it is a process that holds resources.
//
// Invariants
//   J1. A submission has at most one supervisor here: a repeated start answers with the one that runs.
//   J2. Its resources are held from before it is spawned until it is gone.
import type { Resources, StartJobReply } from "@tray/protocol";
import type { RayletEnvironment } from "../node.js";
import type { SpawnedProcess, SupervisorSpawner } from "../pool/spawner.js";
import type { ResourceLedger } from "../resources/ledger.js";

export class JobService {
  private readonly running = new Map<string, SpawnedProcess>();

  constructor(
    private readonly env: RayletEnvironment,
    private readonly ledger: ResourceLedger,
    private readonly spawner: SupervisorSpawner | undefined,
    private readonly changed: () => void,
  ) {}

  start(submissionId: string, jobJson: string, resources: Resources): StartJobReply {
    const present = this.running.get(submissionId);
    if (present !== undefined) return { supervisorPid: present.pid, rejected: false, detail: "" }; // J1
    if (this.spawner === undefined) return { supervisorPid: 0, rejected: true, detail: "this node does not run submitted jobs" };
    const holder = `job:${submissionId}`;
    if (!this.ledger.acquire(holder, resources)) return { supervisorPid: 0, rejected: true, detail: "the node has not the room now" }; // J2
    const child = this.spawner.spawn({ submissionId, jobJson });
    this.running.set(submissionId, child);
    this.changed();
    void child.exited.then((exit) => {
      this.running.delete(submissionId);
      this.ledger.release(holder);
      this.env.logger.info("job supervisor ended", {
        submissionId,
        code: exit.code,
        signal: exit.signal,
        failure: exit.failure,
        stderr: exit.stderrTail,
      });
      this.changed();
    });
    return { supervisorPid: child.pid, rejected: false, detail: "" };
  }

  /** Asks the supervisor to stop its job, with grace. False: none runs here. */
  stop(submissionId: string): boolean {
    const child = this.running.get(submissionId);
    child?.kill("SIGTERM");
    return child !== undefined;
  }

  async close(): Promise<void> {
    const left = [...this.running.values()];
    for (const child of left) child.kill("SIGTERM");
    const kill = this.env.clock.after(this.env.config.workerKillGracePeriod, () => {
      for (const child of left) child.kill("SIGKILL");
    });
    await Promise.all(left.map((child) => child.exited));
    kill.cancel();
  }
}
