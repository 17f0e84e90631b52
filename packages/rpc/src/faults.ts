// FaultPlan: which calls fail on purpose, so that chaos tests lose replies as well as requests.
//
// Faults act at the caller. A lost request: the handler never ran. A lost reply: it ran. Either way the caller sees UNAVAILABLE, and a
// call made with `retry` is sent again. One-way messages are never touched: sessions promise their delivery.
import { messageOf, type Random, TrayError } from "@tray/common";

export interface MethodFaults {
  /** Probability that the request is lost, 0 to 1. */
  readonly requestLost: number;
  /** Probability that the reply is lost, 0 to 1. */
  readonly replyLost: number;
  /** The request leaves this many milliseconds late, uniform in [min, max]; requests may overtake one another. */
  readonly delayMs: readonly [min: number, max: number];
}

/** What happens to one call. */
export interface FaultDraw {
  readonly lose: "request" | "reply" | undefined;
  readonly delayMs: number;
}

const known = new Set(["requestLost", "replyLost", "delayMs"]);

export class FaultPlan {
  private readonly resolved = new Map<string, MethodFaults | undefined>();

  /** Keys are wire names ("gcs/registerActor"), whole services ("gcs/*"), or "*"; the most specific one counts. */
  constructor(private readonly byName: ReadonlyMap<string, MethodFaults>) {}

  /**
   * Parses `{"gcs/registerActor":{"requestLost":0.1,"replyLost":0.1,"delayMs":[0,50]}}`; every field may be left out.
   * Throws CONFIG with the offending key.
   */
  static parse(json: string): FaultPlan {
    let parsed: unknown;
    try {
      parsed = JSON.parse(json);
    } catch (error) {
      throw new TrayError("CONFIG", `fault plan is not JSON: ${messageOf(error)}`);
    }
    if (!isRecord(parsed)) throw new TrayError("CONFIG", "fault plan must be an object of method names");
    const byName = new Map<string, MethodFaults>();
    for (const [name, value] of Object.entries(parsed)) byName.set(name, faultsOf(name, value));
    return new FaultPlan(byName);
  }

  /** Draws the fate of one call; undefined when the plan does not name the method. */
  draw(wireName: string, random: Random): FaultDraw | undefined {
    const faults = this.faultsFor(wireName);
    if (faults === undefined) return undefined;
    const delayMs = faults.delayMs[0] + (faults.delayMs[1] - faults.delayMs[0]) * random.next();
    if (random.next() < faults.requestLost) return { lose: "request", delayMs };
    return { lose: random.next() < faults.replyLost ? "reply" : undefined, delayMs };
  }

  private faultsFor(wireName: string): MethodFaults | undefined {
    if (!this.resolved.has(wireName)) {
      const service = `${wireName.slice(0, wireName.indexOf("/"))}/*`;
      this.resolved.set(wireName, this.byName.get(wireName) ?? this.byName.get(service) ?? this.byName.get("*"));
    }
    return this.resolved.get(wireName);
  }
}

function faultsOf(name: string, value: unknown): MethodFaults {
  const wrong = (what: string): TrayError => new TrayError("CONFIG", `fault plan, ${name}: ${what}`);
  if (!isRecord(value)) throw wrong("must be an object");
  for (const key of Object.keys(value)) if (!known.has(key)) throw wrong(`unknown key '${key}' (known: ${[...known].join(", ")})`);
  const chance = (key: string): number => {
    const p = value[key] ?? 0;
    if (typeof p !== "number" || !(p >= 0 && p <= 1)) throw wrong(`${key} must be a number from 0 to 1`);
    return p;
  };
  const delay: unknown = value["delayMs"] ?? [0, 0];
  const [min, max] = Array.isArray(delay) ? (delay as unknown[]) : [];
  if (typeof min !== "number" || typeof max !== "number" || !(min >= 0 && max >= min)) throw wrong("delayMs must be [min, max] with 0 ≤ min ≤ max");
  return { requestLost: chance("requestLost"), replyLost: chance("replyLost"), delayMs: [min, max] };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
