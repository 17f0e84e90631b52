// Where the arguments of queued tasks lie. Only stored objects count: inlined values travel with the task.
import type { Deque } from "@tray/common";
import type { TaskEntry } from "../task-entry.js";

/** Queued tasks that are looked at: their order is the user's, so a task is overtaken by few. */
const window = 16;
/** The first of the queue is overtaken at most so often: none waits for ever. */
const overtakenMax = 32;
/** Fewer bytes on a node are no reason to prefer it. */
const worthBytes = 1 << 20;
/** What a transfer brings on a busy network: a task with so much of its arguments elsewhere waits so long for a worker there. */
const bytesPerMs = 1 << 18;
/** Shorter waits bring nothing: a lease takes some milliseconds. */
const waitMinMs = 8;
const waitMaxMs = 500;
/** Nodes are full, or unfit for a class, for longer than a task waits. */
const hopelessMs = 5_000;
const hopelessMax = 1_000;

/** Bytes by node id, per task, over the next tasks of the queue: what the scheduler weighs against the load of nodes. */
export function argBytesByNode(queue: Deque<TaskEntry>): Record<string, number> {
  const bytes: Record<string, number> = {};
  let tasks = 0;
  for (const task of queue) {
    if (tasks === window) break;
    tasks++;
    for (const { state } of task.refs)
      if (state.kind === "stored") for (const { nodeId } of state.nodes) bytes[nodeId] = (bytes[nodeId] ?? 0) + state.size;
  }
  for (const nodeId in bytes) bytes[nodeId] = Math.round((bytes[nodeId] as number) / tasks);
  return bytes;
}

/** Tasks that may be held back at a time: no more are looked at. */
export const heldMax = window;

/** Which task of a class a node gets next. */
export class Locality {
  /** Nodes to which workers were waited for in vain, and until when no task waits for one there. */
  private readonly hopeless = new Map<string, number>();

  /** @param mayWait the class may run on any node that has room. */
  constructor(private readonly mayWait: boolean) {}

  /**
   * The queued task that should run on `nodeId` next: of the first ones that with most bytes there, else the first that does not wait for a worker where
   * its arguments lie. Undefined: all of them wait. A task waits no longer than bringing its arguments would take, and not for a node where others have
   * just waited in vain: delay scheduling (Zaharia et al., EuroSys'10), with the delay of each task its own.
   */
  nextFor(queue: Deque<TaskEntry>, nodeId: string, nowMs: number): TaskEntry | undefined {
    const first = queue.peek();
    if (first === undefined || first.refs.length === 0 || first.overtaken >= overtakenMax) return first;
    let best: TaskEntry | undefined;
    let most = worthBytes;
    let free: TaskEntry | undefined;
    let seen = 0;
    for (const task of queue) {
      if (seen++ === window) break;
      const bytes = bytesOn(task, nodeId);
      if (bytes > most) {
        best = task;
        most = bytes;
      } else if (free === undefined && !this.waits(task, bytes, nowMs)) free = task;
    }
    return best ?? free;
  }

  private waits(task: TaskEntry, bytesHere: number, nowMs: number): boolean {
    if (!this.mayWait || task.refs.length === 0) return false;
    const { nodeId, bytes } = home(task);
    const waitMs = Math.min(waitMaxMs, (bytes - bytesHere) / bytesPerMs);
    if (waitMs < waitMinMs || nowMs < (this.hopeless.get(nodeId) ?? 0)) return false;
    if (task.heldSinceMs < 0) task.heldSinceMs = nowMs;
    if (nowMs - task.heldSinceMs < waitMs) return true;
    if (this.hopeless.size >= hopelessMax) this.hopeless.clear();
    this.hopeless.set(nodeId, nowMs + hopelessMs);
    return false;
  }
}

/** Takes `task`, one of the first, out of the queue. */
export function take(queue: Deque<TaskEntry>, task: TaskEntry): void {
  const first = queue.peek();
  if (first === task || first === undefined) {
    queue.shift();
    return;
  }
  first.overtaken++;
  queue.removeFirst((other) => other === task);
}

function bytesOn(task: TaskEntry, nodeId: string): number {
  let bytes = 0;
  for (const { state } of task.refs) if (state.kind === "stored" && state.nodes.some((node) => node.nodeId === nodeId)) bytes += state.size;
  return bytes;
}

/** Where most of its arguments lie. */
function home(task: TaskEntry): { readonly nodeId: string; readonly bytes: number } {
  const sums: Record<string, number> = {};
  let most = { nodeId: "", bytes: 0 };
  for (const { state } of task.refs) {
    if (state.kind !== "stored") continue;
    for (const { nodeId } of state.nodes) {
      const bytes = (sums[nodeId] = (sums[nodeId] ?? 0) + state.size);
      if (bytes > most.bytes) most = { nodeId, bytes };
    }
  }
  return most;
}
