// FaultProfile: what may go wrong in one simulation, drawn from its seed; and the one who makes it go wrong.
//
// Owns:     when which fault strikes, and that all of them end.
// Not mine: how a fault works (SimCluster, MemoryNetwork, FaultPlan).
import { randomInt, type SeededRandom } from "@tray/common";
import { FaultPlan } from "@tray/rpc";
import type { SimCluster } from "../world/cluster.js";

export const faultKinds = [
  "lost-calls",
  "broken-links",
  "duplicates",
  "slow-network",
  "short-partition",
  "long-partition",
  "worker-crash",
  "raylet-crash",
  "power-cut",
  "gcs-crash",
  "driver-crash",
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** After these, processes may be dead whose work is lost: tasks without retries may fail, values may be gone. */
const deadly: ReadonlySet<FaultKind> = new Set(["long-partition", "worker-crash", "raylet-crash", "power-cut", "driver-crash"]);

export interface FaultProfile {
  readonly kinds: readonly FaultKind[];
  /** Processes may die: errors that say so are legitimate answers. Without, everything must succeed. */
  readonly deadly: boolean;
  readonly startMs: number;
  readonly endMs: number;
}

export function drawProfile(random: SeededRandom, machines: number): FaultProfile {
  const possible = faultKinds.filter((kind) => machines > 1 || kind !== "long-partition");
  const style = random.next();
  const kinds: FaultKind[] = [];
  if (style >= 0.12 && style < 0.6) kinds.push(possible[randomInt(random, possible.length)] as FaultKind);
  else if (style >= 0.6) for (const kind of possible) if (random.next() < 0.35) kinds.push(kind);
  const startMs = 100 + random.next() * 400;
  return {
    kinds,
    deadly: kinds.some((kind) => deadly.has(kind)),
    startMs,
    endMs: startMs + 1500 + random.next() * 6000 + (kinds.includes("long-partition") ? 10_000 : 0),
  };
}

/** Loses calls only while the fault period lasts. */
export class SwitchedFaults extends FaultPlan {
  active = false;
  override draw(...args: Parameters<FaultPlan["draw"]>): ReturnType<FaultPlan["draw"]> {
    return this.active ? super.draw(...args) : undefined;
  }
}

export function lostCalls(random: SeededRandom): SwitchedFaults {
  const chance = (): number => random.next() * 0.2;
  return new SwitchedFaults(new Map([["*", { requestLost: chance(), replyLost: chance(), delayMs: [0, random.next() * 30] }]]));
}

export class Saboteur {
  constructor(
    private readonly cluster: SimCluster,
    private readonly profile: FaultProfile,
    private readonly lost: SwitchedFaults | undefined,
    private readonly random: SeededRandom,
  ) {}

  /** Plans everything; runs by the cluster's clock. */
  begin(): void {
    const { clock, log } = this.cluster;
    const { startMs, endMs, kinds } = this.profile;
    log.note("faults", `${kinds.join(", ") || "none"} from ${startMs.toFixed(0)} to ${endMs.toFixed(0)} ms`);
    clock.after(startMs, () => {
      for (const kind of kinds) this.strike(kind);
    });
  }

  /** Everything is well again; what is down comes back. */
  end(): void {
    const { network, log } = this.cluster;
    if (this.lost !== undefined) this.lost.active = false;
    network.breakChance = 0;
    network.duplicateChance = 0;
    network.delayMs = [0.1, 0.5];
    this.cluster.heal();
    log.note("faults", "end");
    if (!this.cluster.gcsAlive) void this.cluster.startGcs();
  }

  private strike(kind: FaultKind): void {
    const { cluster, random } = this;
    const { network } = cluster;
    switch (kind) {
      case "lost-calls":
        if (this.lost !== undefined) this.lost.active = true;
        return;
      case "broken-links":
        network.breakChance = 0.0005 + random.next() * 0.01;
        return;
      case "duplicates":
        network.duplicateChance = 0.01 + random.next() * 0.2;
        return;
      case "slow-network":
        network.delayMs = [0.1, 2 + random.next() * 50];
        return;
      case "short-partition":
        return this.repeat(1 + randomInt(random, 4), () => this.partition(20 + random.next() * 1500));
      case "long-partition":
        return this.repeat(1, () => this.partition(5500 + random.next() * 10_000));
      case "worker-crash":
        return this.repeat(1 + randomInt(random, 8), () => this.pick(cluster.living("worker"))?.kill("killed by the simulation"));
      case "raylet-crash":
        return this.repeat(1 + randomInt(random, 2), () => this.pick(cluster.living("raylet"))?.kill("killed by the simulation"));
      case "power-cut":
        return this.repeat(1, () => {
          const machine = this.pick(cluster.machines.filter((m) => m.alive));
          for (const driver of cluster.drivers) if (driver.machine === machine) driver.process?.kill("power cut", { silent: true });
          machine?.powerCut();
        });
      case "gcs-crash":
        return this.repeat(1 + randomInt(random, 3), () => {
          if (!cluster.gcsAlive) return;
          cluster.crashGcs("killed by the simulation");
          cluster.clock.after(50 + random.next() * 3000, () => {
            if (!cluster.gcsAlive) void cluster.startGcs();
          });
        });
      case "driver-crash":
        return this.repeat(1, () => this.pick(cluster.drivers.filter((d) => !d.settled))?.crash("killed by the simulation"));
    }
  }

  private partition(ms: number): void {
    const { cluster, random } = this;
    const machine = this.pick(cluster.machines);
    if (machine === undefined) return;
    const direction = random.next() < 0.6 ? "both" : "one-way";
    const others = ["gcs", ...cluster.machines.filter((m) => m !== machine).map((m) => m.name)];
    // From everybody, or from one other.
    const from = random.next() < 0.5 ? others : [this.pick(others) as string];
    const outward = random.next() < 0.5;
    const cuts = from.map((other) => cluster.cut(outward ? machine.name : other, outward ? other : machine.name, direction));
    cluster.log.note(
      "faults",
      `${machine.name} is cut off from ${from.join(", ")} (${direction}${direction === "one-way" ? (outward ? ", outward" : ", inward") : ""}) for ${ms.toFixed(0)} ms`,
    );
    cluster.clock.after(ms, () => {
      for (const mend of cuts) mend();
    });
  }

  private repeat(times: number, act: () => void): void {
    const { endMs } = this.profile;
    const now = this.cluster.clock.now();
    for (let i = 0; i < times; i++) this.cluster.clock.after(this.random.next() * Math.max(1, endMs - now - 50), act);
  }
  private pick<T>(from: readonly T[]): T | undefined {
    return from[randomInt(this.random, from.length)];
  }
}
