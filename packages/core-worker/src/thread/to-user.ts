// What the core (I/O) thread tells the user's thread: the interface, its encoding, its decoding.
import type { ThreadChannel } from "./channel.js";
import { type RecordReader, RecordWriter } from "./record.js";

/** A failure as it travels: `cause` is the flat serialized error of user code, or empty. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly detailsJson: string;
  readonly cause: Uint8Array;
}

/** Where a value is, for the thread that will read it. */
export type Located =
  | { readonly kind: "value"; readonly value: Uint8Array }
  /** In the arena; stays there until `unpin(pinId)`. */
  | { readonly kind: "stored"; readonly pinId: number; readonly offset: number; readonly size: number }
  | { readonly kind: "failed"; readonly failure: Failure };

/** What a worker's user thread needs to know once about the tasks of one template. JSON. */
export interface ExecTemplate {
  readonly jobId: string;
  readonly namespace: string;
  readonly functionId: string;
  readonly name: string;
  readonly numReturns: number;
  readonly taskPrefix: string;
  readonly actorId: string;
  readonly method: string;
  readonly concurrencyGroup: string;
  readonly retryClassesId: string;
  readonly callerWorkerId: string;
  readonly resources: Readonly<Record<string, number>>;
  readonly workingDir: string;
  /** The function is a generator whose items are returned one by one. */
  readonly streaming: boolean;
  /** It pauses at so many items that are not consumed; 0 = never. */
  readonly backpressure: number;
}

/** Where an attempt of a streaming task takes up: as StreamStart of the protocol. */
export interface StreamResume {
  readonly delivered: number;
  readonly consumed: number;
  readonly wanted: readonly number[];
  readonly until: number;
}

/** An actor to become. JSON. */
export interface ExecActor {
  readonly actorId: string;
  readonly jobId: string;
  readonly namespace: string;
  readonly name: string;
  readonly className: string;
  readonly functionId: string;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  readonly incarnation: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly workingDir: string;
}

export interface ToUser {
  /** One per slot of a `get`, in any order. */
  ready(requestId: number, index: number, located: Located): void;
  /** Answers wait, create, seal, call. `json` is the answer, or the Failure when not ok. */
  reply(requestId: number, ok: boolean, json: string): void;
  /** A function's blob, before the first task that names it. */
  loadFunction(functionId: string, blob: Uint8Array): void;
  execTemplate(templateKey: number, template: ExecTemplate): void;
  /** Run a task. Its claim, in the slot `claim`, must first be won; it was taken back when that fails. */
  execute(execId: number, claim: number, templateKey: number, number: number, attempt: number, args: Uint8Array, refs: readonly Located[]): void;
  becomeActor(execId: number, actor: ExecActor, args: Uint8Array, refs: readonly Located[]): void;
  /** Before `execute` of a streaming task that takes up after an earlier attempt. */
  resumeStream(execId: number, resume: StreamResume): void;
  /** So many items of the stream are consumed. */
  consumed(execId: number, count: number): void;
  /** The task's signal fires; a generator is made to return. */
  cancelExec(execId: number): void;
  /** Lines of other processes for this driver's terminal. JSON of LogLine[]. */
  logs(json: string): void;
  /** Please drop unreachable handles: the object store is short of room. */
  collectGarbage(): void;
  /** The cluster is gone for this process: everything pending fails with this. */
  lost(failure: Failure): void;
  /** Leave with this exit code (workers). */
  exit(code: number): void;
}

const op = {
  ready: 1,
  reply: 2,
  loadFunction: 3,
  execTemplate: 4,
  execute: 5,
  becomeActor: 6,
  cancelExec: 7,
  logs: 8,
  collectGarbage: 9,
  lost: 10,
  exit: 11,
  resumeStream: 12,
  consumed: 13,
} as const;

const kinds = { value: 0, stored: 1, failed: 2 } as const;

export class ToUserSender implements ToUser {
  private readonly w = new RecordWriter();
  constructor(private readonly channel: ThreadChannel) {}

  ready(requestId: number, index: number, located: Located): void {
    this.w.reset(op.ready).u32(requestId).u32(index);
    this.located(located);
    this.send();
  }
  reply(requestId: number, ok: boolean, json: string): void {
    this.w
      .reset(op.reply)
      .u32(requestId)
      .u8(ok ? 1 : 0)
      .text(json);
    this.send();
  }
  loadFunction(functionId: string, blob: Uint8Array): void {
    this.w.reset(op.loadFunction).text(functionId).data(blob);
    this.send();
  }
  execTemplate(templateKey: number, template: ExecTemplate): void {
    this.w.reset(op.execTemplate).u32(templateKey).text(JSON.stringify(template));
    this.send();
  }
  execute(execId: number, claim: number, templateKey: number, number: number, attempt: number, args: Uint8Array, refs: readonly Located[]): void {
    this.w.reset(op.execute).u32(execId).u32(claim).u32(templateKey).f64(number).u32(attempt).data(args).u32(refs.length);
    for (let i = 0; i < refs.length; i++) this.located(refs[i] as Located);
    this.send();
  }
  becomeActor(execId: number, actor: ExecActor, args: Uint8Array, refs: readonly Located[]): void {
    this.w.reset(op.becomeActor).u32(execId).text(JSON.stringify(actor)).data(args).u32(refs.length);
    for (const ref of refs) this.located(ref);
    this.send();
  }
  resumeStream(execId: number, { delivered, consumed, wanted, until }: StreamResume): void {
    this.w.reset(op.resumeStream).u32(execId).u32(delivered).u32(consumed).list(wanted).u32(until);
    this.send();
  }
  consumed(execId: number, count: number): void {
    this.w.reset(op.consumed).u32(execId).u32(count);
    this.send();
  }
  cancelExec(execId: number): void {
    this.w.reset(op.cancelExec).u32(execId);
    this.send();
  }
  logs(json: string): void {
    this.w.reset(op.logs).text(json);
    this.send();
  }
  collectGarbage(): void {
    this.w.reset(op.collectGarbage);
    this.send();
  }
  lost(failure: Failure): void {
    this.w.reset(op.lost);
    this.failure(failure);
    this.send();
  }
  exit(code: number): void {
    this.w.reset(op.exit).u32(code);
    this.send();
  }

  private located(located: Located): void {
    this.w.u8(kinds[located.kind]);
    if (located.kind === "value") this.w.data(located.value);
    else if (located.kind === "stored") this.w.u32(located.pinId).f64(located.offset).f64(located.size);
    else this.failure(located.failure);
  }
  private failure(f: Failure): void {
    this.w.text(f.code).text(f.message).text(f.hint).text(f.detailsJson).data(f.cause);
  }
  private send(): void {
    this.channel.send(this.w.bytes, this.w.length);
    this.w.trim();
  }
}

function readFailure(r: RecordReader): Failure {
  return { code: r.text(), message: r.text(), hint: r.text(), detailsJson: r.text(), cause: r.data() };
}

function readLocated(r: RecordReader): Located {
  const kind = r.u8();
  if (kind === kinds.value) return { kind: "value", value: r.data() };
  if (kind === kinds.stored) return { kind: "stored", pinId: r.u32(), offset: r.f64(), size: r.f64() };
  return { kind: "failed", failure: readFailure(r) };
}

const noRefs: readonly Located[] = Object.freeze([]);

function readRefs(r: RecordReader): readonly Located[] {
  const count = r.u32();
  if (count === 0) return noRefs;
  const refs: Located[] = [];
  for (let i = 0; i < count; i++) refs.push(readLocated(r));
  return refs;
}

/** The user's side: decodes one record and calls `user`. */
export function dispatchToUser(r: RecordReader, memory: Buffer, start: number, user: ToUser): void {
  switch (r.start(memory, start)) {
    case op.ready:
      user.ready(r.u32(), r.u32(), readLocated(r));
      break;
    case op.execute:
      user.execute(r.u32(), r.u32(), r.u32(), r.f64(), r.u32(), r.data(), readRefs(r));
      break;
    case op.reply:
      user.reply(r.u32(), r.u8() === 1, r.text());
      break;
    case op.loadFunction:
      user.loadFunction(r.text(), r.data());
      break;
    case op.execTemplate:
      user.execTemplate(r.u32(), JSON.parse(r.text()) as ExecTemplate);
      break;
    case op.becomeActor:
      user.becomeActor(r.u32(), JSON.parse(r.text()) as ExecActor, r.data(), readRefs(r));
      break;
    case op.consumed:
      user.consumed(r.u32(), r.u32());
      break;
    case op.resumeStream:
      user.resumeStream(r.u32(), { delivered: r.u32(), consumed: r.u32(), wanted: r.list(), until: r.u32() });
      break;
    case op.cancelExec:
      user.cancelExec(r.u32());
      break;
    case op.logs:
      user.logs(r.text());
      break;
    case op.collectGarbage:
      user.collectGarbage();
      break;
    case op.lost:
      user.lost(readFailure(r));
      break;
    case op.exit:
      user.exit(r.u32());
      break;
    default:
      throw new Error(`unknown record ${memory[start]} for the user's thread`);
  }
}
