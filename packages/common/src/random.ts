// Randomness comes in through constructors, like time: a seeded source in simulations, the system's elsewhere.
import { randomBytes } from "node:crypto";

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `bytes` random bytes as lower-case hex. */
  hex(bytes: number): string;
}

/** Uniform integer in [0, bound). */
export function randomInt(random: Random, bound: number): number {
  return Math.floor(random.next() * bound);
}

/** Cryptographic for ids; `next` is the engine's generator (jitter, tie-breaks). */
export const systemRandom: Random = {
  next: () => Math.random(),
  hex: (bytes) => randomBytes(bytes).toString("hex"),
};

/** Deterministic generator for simulations and property tests (splitmix32; Steele, Lea, Flood, OOPSLA 2014). */
export class SeededRandom implements Random {
  private state: number;
  constructor(seed: number) {
    this.state = seed | 0;
  }
  private nextUint32(): number {
    this.state = (this.state + 0x9e3779b9) | 0;
    let z = this.state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }
  next(): number {
    return this.nextUint32() / 0x1_0000_0000;
  }
  hex(bytes: number): string {
    let out = "";
    for (let i = 0; i < bytes; i++) out += (this.nextUint32() & 0xff).toString(16).padStart(2, "0");
    return out;
  }
  /** An independent stream, so that one component's draws do not shift another's. */
  fork(): SeededRandom {
    return new SeededRandom(this.nextUint32());
  }
}
