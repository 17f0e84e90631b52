// DriverWatch: ends the jobs of drivers that are gone.
//
// Owns:     one record per driver of this node.
// Invariants
//   D1. A driver is gone when its session is lost, or its process does not exist any more; that is told once.
import type { Timer } from "@tray/common";
import type { RegisterWorkerRequest } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { RayletEnvironment } from "../node.js";

export interface Driver {
  readonly workerId: string;
  readonly pid: number;
  readonly jobId: string;
  readonly endpoint: string;
  readonly sinceWallMs: number;
  readonly session: Session;
}

const probePeriodMs = 500;
/** A process whose connection broke is looked at again this soon: the socket dies a little before the process. */
const probesAfterBreakMs = [0, 20, 100, 250];

export class DriverWatch {
  private readonly drivers = new Map<string, Driver>();
  private readonly timer: Timer;

  constructor(
    private readonly env: RayletEnvironment,
    private readonly probeProcess: (pid: number) => boolean,
    private readonly gone: (driver: Driver, why: string) => void,
  ) {
    this.timer = env.clock.every(probePeriodMs, () => {
      for (const driver of [...this.drivers.values()]) this.probe(driver);
    });
  }

  all(): IterableIterator<Driver> {
    return this.drivers.values();
  }
  get(workerId: string): Driver | undefined {
    return this.drivers.get(workerId);
  }

  register(request: RegisterWorkerRequest, session: Session): void {
    const { workerId, pid, jobId, endpoint } = request;
    const known = this.drivers.get(workerId);
    if (known?.session === session) return;
    const driver: Driver = { workerId, pid, jobId, endpoint, sinceWallMs: known?.sinceWallMs ?? this.env.clock.wallMs(), session };
    this.drivers.set(workerId, driver);
    session.onBroken(() => {
      for (const delayMs of probesAfterBreakMs) this.env.clock.after(delayMs, () => this.probe(driver));
    });
    session.onLost(() => this.end(driver, "its session with the raylet ended"));
  }

  close(): void {
    this.timer.cancel();
    this.drivers.clear();
  }

  private probe(driver: Driver): void {
    if (this.drivers.get(driver.workerId) === driver && !this.probeProcess(driver.pid)) this.end(driver, `its process ${driver.pid} ended`);
  }

  /** D1. A driver that registered again over a new session is not gone with the old one. */
  private end(driver: Driver, why: string): void {
    if (this.drivers.get(driver.workerId) !== driver) return;
    this.drivers.delete(driver.workerId);
    this.gone(driver, why);
  }
}
