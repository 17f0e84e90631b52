// How tray's own things travel inside values: references, handles, remote functions, errors.
import { type ErrorCode, isTrayError, type TrayError } from "@tray/common";
import type { Extension } from "@tray/serialization";
import { handleObjectId } from "../core/owned-actors.js";
import { type ActorDescription, handleStateOf, makeHandle } from "./actor-handle.js";
import { ArgumentPlaceholder, type ReadContext, type WriteContext } from "./arguments.js";
import { publicError } from "./errors.js";
import { slotOf } from "./holdings.js";
import { isObjectRef, type ObjectRef } from "./object-ref.js";
import { isObjectRefGenerator } from "./object-ref-generator.js";
import type { Runtime } from "./runtime.js";

/** Remote functions and actor classes are made by the API layer, which knows how they look to users. */
export interface RemoteFactory {
  isRemoteFunction(value: object): boolean;
  /** The function or class and the options it was made with. */
  partsOf(value: object): { target: Function; options: object; kind: "task" | "actor" };
  make(kind: "task" | "actor", target: Function, options: object): object;
  /** For one that refers to the function or class that is just being read. */
  makeLater(kind: "task" | "actor", options: object): { made: object; complete: (target: Function) => void };
}

export function extensions(current: () => Runtime, remote: RemoteFactory): Extension[] {
  return [
    {
      tag: "tray.arg",
      test: (value): value is ArgumentPlaceholder => value instanceof ArgumentPlaceholder,
      encode: (value) => (value as ArgumentPlaceholder).index,
      decode: (data, context) => (context as ReadContext).args[data as number] as object,
    },
    {
      tag: "tray.ref",
      test: (value): value is ObjectRef<unknown> => isObjectRef(value),
      encode: (value, context) => {
        const ref = value as ObjectRef<unknown>;
        const runtime = current();
        (context as WriteContext).held.push(slotOf(ref));
        const { workerId, nodeId, endpoint } = runtime.ownerOf(ref);
        return [ref.hex, workerId, nodeId, endpoint];
      },
      decode: (data) => {
        const [objectId, workerId, nodeId, endpoint] = data as [string, string, string, string];
        return current().adopt(objectId, { workerId, nodeId, endpoint });
      },
    },
    {
      tag: "tray.generator",
      test: (value): value is object => isObjectRefGenerator(value),
      encode: (): never => {
        throw publicError("SERIALIZATION", "an ObjectRefGenerator cannot be passed on: its items are taken by the process that made the call", {
          hint: "pass on the references that it yields",
        });
      },
      decode: () => ({}),
    },
    {
      tag: "tray.actor",
      test: (value): value is object => handleStateOf(value) !== undefined,
      encode: (value, context) => {
        const state = handleStateOf(value);
        if (state === undefined) throw new Error("not a handle");
        if (state.slot !== 0) (context as WriteContext).held.push(state.slot);
        return [state.description, state.slot !== 0];
      },
      decode: (data) => {
        const [description, counts] = data as [ActorDescription, boolean];
        const runtime = current();
        if (!counts) return makeHandle(runtime, 0, description);
        return makeHandle(runtime, runtime.adoptSlot(handleObjectId(description.actorId), description.owner), description);
      },
    },
    {
      tag: "tray.remote",
      test: (value): value is object => remote.isRemoteFunction(value),
      encode: (value, context) => {
        const { target, options, kind } = remote.partsOf(value);
        return [kind, target === (context as WriteContext).root ? undefined : target, options];
      },
      decode: (data, context) => {
        const [kind, target, options] = data as ["task" | "actor", Function | undefined, object];
        if (target !== undefined) return remote.make(kind, target, options);
        const { made, complete } = remote.makeLater(kind, options);
        (context as ReadContext).whenRoot?.push(complete);
        return made;
      },
    },
    {
      tag: "tray.error",
      test: (value): value is TrayError => isTrayError(value),
      encode: (value) => {
        const error = value as TrayError;
        return [error.code, error.message, error.hint, error.details, error.cause, error.stack];
      },
      decode: (data) => {
        const [code, message, hint, details, cause, stack] = data as [
          ErrorCode,
          string,
          string | undefined,
          Record<string, unknown> | undefined,
          unknown,
          string | undefined,
        ];
        const error = publicError(code, message, {
          ...(hint === undefined ? {} : { hint }),
          ...(details === undefined ? {} : { details }),
          ...(cause === undefined ? {} : { cause }),
        });
        if (stack !== undefined) error.stack = stack;
        return error;
      },
    },
  ];
}
