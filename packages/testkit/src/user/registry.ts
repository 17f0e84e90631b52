// The programs that simulated workers can run, by name. The registry is what a function table's blob stands for.
import type { Activation } from "./activation.js";
import type { SimValue } from "./value.js";

export type Program = (act: Activation, ...args: SimValue[]) => SimValue | Promise<SimValue>;
/** The counterpart of a generator function. */
export type StreamProgram = (act: Activation, ...args: SimValue[]) => AsyncGenerator<SimValue, void, undefined>;

export interface ActorProgram {
  construct(act: Activation, ...args: SimValue[]): ActorMemory | Promise<ActorMemory>;
  readonly methods: Readonly<Record<string, (state: ActorMemory, act: Activation, ...args: SimValue[]) => SimValue | Promise<SimValue>>>;
  readonly streams: Readonly<Record<string, (state: ActorMemory, act: Activation, ...args: SimValue[]) => AsyncGenerator<SimValue, void, undefined>>>;
}

export type ActorMemory = Record<string, SimValue | Map<string, number>>;

export const programs = new Map<string, Program>();
export const streamPrograms = new Map<string, StreamProgram>();
export const actorPrograms = new Map<string, ActorProgram>();
