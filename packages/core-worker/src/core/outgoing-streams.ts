// OutgoingStreams: items that generators yield here, on their way to the callers that consume them.
//
// Owns:     how far each running generator is ahead of its consumer (Execution.stream).
// Not mine: executions, and the answer that ends a stream (executor.ts), the consumer's side (streams.ts), items until they are confirmed (handovers.ts).
// Crosses:  in: yielded and resting from the user's thread, progress from the consumer. out: CallerService.itemsMade, ToUser.consumed / cancelExec.
//
// Invariants
//   G1. items of a stream leave in the order in which they were yielded, none left out, before the stream's answer.
//   G2. a generator that waits for its consumer gives its processors back meanwhile: the consumer may need them.
import { CallerService, type StreamProgress, type TaskPush, type TaskReturn } from "@tray/protocol";
import type { Session } from "@tray/rpc";
import type { ReturnValue } from "../thread/to-core.js";
import type { ToUser } from "../thread/to-user.js";
import type { BlockedLease } from "./blocked-lease.js";
import { type Execution, isOver, type Outgoing } from "./execution.js";
import { errorInfoOf } from "./failures.js";
import type { Handovers } from "./handovers.js";
import type { ObjectEntry } from "./object-entry.js";

export class OutgoingStreams {
  constructor(
    /** Those that have not been answered. */
    private readonly executions: ReadonlyMap<number, Execution>,
    private readonly user: ToUser,
    private readonly handovers: Handovers,
    private readonly lease: BlockedLease,
    /** On the wire; adds what the value contains to `held`. */
    private readonly returnOf: (value: ReturnValue, held: ObjectEntry[]) => TaskReturn,
  ) {}

  /** An item leaves at once. False: its execution is over, nobody will be told of it. */
  yielded(execId: number, index: number, value: ReturnValue): boolean {
    const execution = this.executions.get(execId);
    const { session, push, stream } = execution ?? {};
    if (execution === undefined || session === undefined || push === undefined || stream === undefined) return false;
    if (stream.broken !== undefined || isOver(session)) return false;
    const held: ObjectEntry[] = [];
    const item = this.returnOf(value, held);
    const { number, attempt } = push;
    const key = itemKey(number, attempt, index);
    if (held.length > 0) this.handovers.hold(session, key, held);
    try {
      session.client(CallerService).itemsMade({ items: [{ number, attempt, index, item }] });
    } catch (error) {
      // Its caller has not taken what was sent before: nothing may be left out (G1), so another attempt goes on from what it has.
      stream.broken = errorInfoOf(error);
      this.handovers.confirmed(session, key);
      this.user.cancelExec(execId);
      return false;
    }
    stream.made = Math.max(stream.made, index);
    this.pause(stream, index === stream.made && isFull(execution, stream));
    return true;
  }

  /** The generator waits for its consumer. */
  resting(execId: number): void {
    const execution = this.executions.get(execId);
    if (execution?.stream !== undefined) this.pause(execution.stream, isFull(execution, execution.stream)); // word of its consumer may have crossed this
  }

  /** What its consumer has taken, and of which items it holds the references now. */
  progress(session: Session, message: StreamProgress): void {
    const { number, attempt, consumed } = message;
    for (const index of message.confirmed) this.handovers.confirmed(session, itemKey(number, attempt, index));
    for (const execution of this.executions.values()) {
      const { stream, push } = execution;
      if (stream === undefined || execution.session !== session || push?.number !== number || push.attempt !== attempt) continue;
      if (consumed <= stream.consumed) return;
      stream.consumed = consumed;
      if (!isFull(execution, stream)) this.pause(stream, false);
      if (execution.state === "handed") this.user.consumed(execution.id, consumed);
      return;
    }
  }

  /** Its execution has ended. */
  ended(stream: Outgoing): void {
    this.pause(stream, false);
  }

  /** The caller is gone: nobody consumes. */
  callerLost(session: Session): void {
    for (const { id, stream, session: caller } of this.executions.values()) if (stream !== undefined && caller === session) this.user.cancelExec(id);
  }

  private pause(stream: Outgoing, paused: boolean): void {
    if (stream.paused === paused) return;
    stream.paused = paused;
    if (paused)
      this.lease.blockedBegin(); // G2
    else this.lease.blockedEnd();
  }
}

/** Of a task that streams. */
export const outgoing = ({ stream }: TaskPush): Outgoing => ({
  made: stream?.delivered ?? 0,
  consumed: stream?.consumed ?? 0,
  paused: false,
  broken: undefined,
});

const itemKey = (number: number, attempt: number, index: number): string => `${number}.${attempt}.${index}`;

/** Its generator pauses here, as the user's thread judges too. */
function isFull({ template }: Execution, { made, consumed }: Outgoing): boolean {
  const limit = template?.wire.backpressure ?? 0;
  return limit > 0 && made - consumed >= limit;
}
