// What an object's prototype says of its class: found once for each prototype, because instances come in thousands.
import { TrayError } from "@tray/common";
import type { CodecState } from "../state.js";
import { builtinExportOf, intrinsicOf, isNative, wellKnownPath } from "../value/well-known.js";
import { analyseSource } from "./analysis.js";

export interface ClassTrait {
  /** Undefined if the prototype is just an object that others inherit from. */
  readonly cls: Function | undefined;
  /** The name of a native or Node-internal class among the ancestors: its instances hold what no other process can have. */
  readonly native: string | undefined;
  /** The name of an ancestor with private instance members. */
  readonly privateIn: string | undefined;
  /** A class of Node's own that no module exports. */
  readonly internal: boolean;
}

/** Classes of Node whose instances are plain state. */
const openBuiltins = new Set(["EventEmitter", "Stats", "Dirent", "URL", "URLSearchParams"]);
const traits = new WeakMap<object, ClassTrait>();

export function classTrait(state: CodecState, prototype: object): ClassTrait {
  const known = traits.get(prototype);
  if (known !== undefined) return known;
  const trait = find(state, prototype);
  traits.set(prototype, trait);
  return trait;
}

function find(state: CodecState, prototype: object): ClassTrait {
  const cls: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  const none = { cls: undefined, native: undefined, privateIn: undefined, internal: false };
  if (typeof cls !== "function" || (cls as { prototype?: unknown }).prototype !== prototype) return none;
  const isIntrinsic = intrinsicOf(prototype) !== undefined;
  if (isIntrinsic || wellKnownPath(cls) !== undefined) {
    // Kinds with a form of their own never ask; errors and subclasses of Map and the like may have these as ancestors.
    return { ...none, cls, native: isAncestorKind(prototype) ? undefined : cls.name };
  }
  if (isNative(cls)) return { ...none, cls, native: cls.name };
  const parentPrototype = Object.getPrototypeOf(prototype) as object | null;
  const parent = parentPrototype === null ? none : classTrait(state, parentPrototype);
  const url = state.scriptFacts(state.inspector.inspect(cls).scriptId)?.url ?? "";
  if (url.startsWith("node:")) {
    const exported = builtinExportOf(cls) !== undefined;
    const isError = Object.prototype.isPrototypeOf.call(Error.prototype, prototype);
    return { ...none, cls, native: isError || openBuiltins.has(cls.name) ? undefined : cls.name, internal: !exported };
  }
  return { cls, native: parent.native, privateIn: hasPrivateState(cls) ? cls.name || "(anonymous class)" : parent.privateIn, internal: false };
}

const ancestorKinds =
  /^(Object|Function|Array|Map|Set|Date|RegExp|Error|\w+Error|ArrayBuffer|SharedArrayBuffer|DataView|TypedArray|\w+\d+(Clamped)?Array|Number|String|Boolean|BigInt|Symbol|URL|Buffer)$/;

function isAncestorKind(prototype: object): boolean {
  return ancestorKinds.test((prototype.constructor as Function).name);
}

function hasPrivateState(cls: Function): boolean {
  try {
    return analyseSource(Function.prototype.toString.call(cls)).hasPrivateState;
  } catch (error) {
    if (error instanceof TrayError) return false; // its source is refused where the class itself is shipped, with the path
    throw error;
  }
}
