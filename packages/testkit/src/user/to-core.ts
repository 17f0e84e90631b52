// The user's thread as seen from the core and the other way round: every message through a Pipe, bytes copied as they are between threads.
import type { Located, ToCore, ToUser } from "@tray/core-worker";
import type { Pipe } from "./pipe.js";

export function throughPipe(pipe: Pipe, core: ToCore): ToCore {
  return {
    putFunction: (...a) => pipe.post(() => core.putFunction(...a)),
    defineTemplate: (...a) => pipe.post(() => core.defineTemplate(...a)),
    submit: (...a) => pipe.post(() => core.submit(...a)),
    createActor: (...a) => pipe.post(() => core.createActor(...a)),
    get: (...a) => pipe.post(() => core.get(...a)),
    wait: (...a) => pipe.post(() => core.wait(...a)),
    forget: (...a) => pipe.post(() => core.forget(...a)),
    put: (...a) => pipe.post(() => core.put(...a)),
    putLarge: (...a) => pipe.post(() => core.putLarge(...a)),
    create: (...a) => pipe.post(() => core.create(...a)),
    seal: (...a) => pipe.post(() => core.seal(...a)),
    adopt: (...a) => pipe.post(() => core.adopt(...a)),
    release: (...a) => pipe.post(() => core.release(...a)),
    unpin: (...a) => pipe.post(() => core.unpin(...a)),
    finished: (...a) => pipe.post(() => core.finished(...a)),
    yielded: (...a) => pipe.post(() => core.yielded(...a)),
    resting: (...a) => pipe.post(() => core.resting(...a)),
    nextItem: (...a) => pipe.post(() => core.nextItem(...a)),
    cancel: (...a) => pipe.post(() => core.cancel(...a)),
    call: (...a) => pipe.post(() => core.call(...a)),
  };
}

export function userThroughPipe(pipe: Pipe, user: ToUser): ToUser {
  return {
    ready: (id, index, located) => {
      const copy = copyOf(located);
      pipe.post(() => user.ready(id, index, copy));
    },
    reply: (...a) => pipe.post(() => user.reply(...a)),
    loadFunction: (id, blob) => {
      const copy = blob.slice();
      pipe.post(() => user.loadFunction(id, copy));
    },
    execTemplate: (...a) => pipe.post(() => user.execTemplate(...a)),
    execute: (execId, claim, key, number, attempt, args, refs) => {
      const [argsCopy, refsCopy] = [args.slice(), refs.map(copyOf)];
      pipe.post(() => user.execute(execId, claim, key, number, attempt, argsCopy, refsCopy));
    },
    becomeActor: (execId, actor, args, refs) => {
      const [argsCopy, refsCopy] = [args.slice(), refs.map(copyOf)];
      pipe.post(() => user.becomeActor(execId, actor, argsCopy, refsCopy));
    },
    resumeStream: (...a) => pipe.post(() => user.resumeStream(...a)),
    consumed: (...a) => pipe.post(() => user.consumed(...a)),
    cancelExec: (...a) => pipe.post(() => user.cancelExec(...a)),
    logs: (...a) => pipe.post(() => user.logs(...a)),
    collectGarbage: () => pipe.post(() => user.collectGarbage()),
    lost: (...a) => pipe.post(() => user.lost(...a)),
    exit: (...a) => pipe.post(() => user.exit(...a)),
  };
}

const copyOf = (located: Located): Located => (located.kind === "value" ? { kind: "value", value: located.value.slice() } : located);
