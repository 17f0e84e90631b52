// Ids: lower-case hex strings (docs/decisions/0003).
import type { Random } from "@tray/common";

declare const idBrand: unique symbol;
type Id<K extends string> = string & { readonly [idBrand]: K };

export type NodeId = Id<"node">;
export type WorkerId = Id<"worker">;
export type JobId = Id<"job">;
export type ActorId = Id<"actor">;
export type TaskId = Id<"task">;
export type ObjectId = Id<"object">;
export type LeaseId = Id<"lease">;

const jobDigits = 8;
const prefixDigits = 22; // job 8 + submitting worker 14
const numberDigits = 10;
const taskDigits = prefixDigits + numberDigits;
const indexDigits = 8;
const objectDigits = taskDigits + indexDigits;

export const newNodeId = (random: Random): NodeId => random.hex(16) as NodeId;
export const newWorkerId = (random: Random): WorkerId => random.hex(16) as WorkerId;
export const newLeaseId = (random: Random): LeaseId => random.hex(16) as LeaseId;
export const newActorId = (random: Random, job: JobId): ActorId => (job + random.hex(8)) as ActorId;
export const jobIdOf = (number: number): JobId => number.toString(16).padStart(jobDigits, "0") as JobId;

/** What every task that `worker` submits for `job` begins with. */
export const taskPrefix = (job: JobId, worker: WorkerId): string => job + worker.slice(0, prefixDigits - jobDigits);

/** `number` counts the submissions of one worker; exact up to 2^40. */
export const taskIdOf = (prefix: string, number: number): TaskId => (prefix + number.toString(16).padStart(numberDigits, "0")) as TaskId;
export const objectIdOf = (task: TaskId | string, index: number): ObjectId => (task + index.toString(16).padStart(indexDigits, "0")) as ObjectId;

export const taskOfObject = (object: string): TaskId => object.slice(0, taskDigits) as TaskId;
export const prefixOfObject = (object: string): string => object.slice(0, prefixDigits);
export const numberOfObject = (object: string): number => Number.parseInt(object.slice(prefixDigits, taskDigits), 16);
export const indexOfObject = (object: string): number => Number.parseInt(object.slice(taskDigits), 16);
export const jobOf = (id: TaskId | ObjectId | ActorId | string): JobId => id.slice(0, jobDigits) as JobId;

/** True for text of an object id's form (what users may pass in). */
export const isObjectId = (text: string): text is ObjectId => text.length === objectDigits && /^[0-9a-f]+$/.test(text);
