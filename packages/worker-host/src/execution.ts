// Execution: one attempt of a task or call on this worker: as it came, and once it was begun.
import type { Timer } from "@tray/common";
import type { ExecActor, ExecTemplate, Located } from "@tray/core-worker";
import { taskIdOf } from "@tray/protocol";
import type { Streaming } from "./streaming.js";

/** The task or call whose code runs. */
export interface TaskContext {
  readonly execId: number;
  readonly taskId: string;
  readonly taskName: string;
  readonly actorId: string | undefined;
  readonly attemptNumber: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
}

export interface Execution {
  readonly execId: number;
  readonly claim: number;
  readonly template: ExecTemplate;
  readonly number: number;
  readonly attempt: number;
  readonly args: Uint8Array;
  readonly refs: readonly Located[];
}

/** An execution that was begun. What few tasks ask for (id, signal) is made when they do. */
export class Running implements TaskContext {
  finished = false;
  /** The generator that it runs. */
  streaming: Streaming | undefined;
  /** Ends it when its generator does not return though it is cancelled. */
  patience: Timer | undefined;
  private abortController: AbortController | undefined;

  constructor(
    readonly execId: number,
    readonly template: ExecTemplate | undefined,
    readonly number: number,
    readonly attemptNumber: number,
    private readonly actorResources: Readonly<Record<string, number>> | undefined,
    readonly startedMs: number,
    private readonly constructing?: ExecActor,
  ) {}

  get context(): TaskContext {
    return this;
  }
  get taskId(): string {
    return this.template === undefined ? "" : taskIdOf(this.template.taskPrefix, this.number);
  }
  get taskName(): string {
    return this.template?.name ?? `${this.constructing?.className ?? ""}.constructor`;
  }
  get actorId(): string | undefined {
    const id = this.template?.actorId ?? this.constructing?.actorId ?? "";
    return id === "" ? undefined : id;
  }
  get resources(): Readonly<Record<string, number>> {
    return this.actorResources ?? this.template?.resources ?? {};
  }
  get aborter(): AbortController {
    this.abortController ??= new AbortController();
    return this.abortController;
  }
  get signal(): AbortSignal {
    return this.aborter.signal;
  }
}
