/**
 * Patterns made of tasks and actors.
 *
 *   import { ActorPool, map, Queue } from "tray/util";
 */
export { ActorPool, type GetNextOptions, type PoolMapOptions } from "./util/actor-pool.js";
export { map, type MapOptions } from "./util/map.js";
export { Queue, QueueEmptyError, QueueFullError, type QueueOptions, type QueueWaitOptions } from "./util/queue.js";
