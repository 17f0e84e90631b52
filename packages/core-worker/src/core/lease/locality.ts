// Where the arguments of queued tasks lie. Only stored objects count: inlined values travel with the task.
import type { Deque } from "@tray/common";
import type { TaskEntry } from "../task-entry.js";

/** Queued tasks that are looked at: their order is the user's, so a task is overtaken by few. */
const window = 16;
/** The first of the queue is overtaken at most so often: none waits for ever. */
const overtakenMax = 32;
/** Fewer bytes on a node are no reason to prefer it. */
const worthBytes = 1 << 20;

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

/** The queued task that should run on `nodeId` next: of the first ones that with most bytes there, else the first. */
export function nextFor(queue: Deque<TaskEntry>, nodeId: string): TaskEntry | undefined {
  const first = queue.peek();
  if (first === undefined || first.refs.length === 0 || queue.length === 1 || first.overtaken >= overtakenMax) return first;
  let best = first;
  let most = Math.max(bytesOn(first, nodeId), worthBytes);
  let seen = 0;
  for (const task of queue) {
    if (seen++ === window) break;
    const bytes = bytesOn(task, nodeId);
    if (bytes > most) {
      best = task;
      most = bytes;
    }
  }
  return best;
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
