// Apache Arrow: tables, record batches, vectors, data, schemas, fields and types, with their columns' memory as it lies.
//
// The package is the user's, not ours: its objects are told by their brands, and it is loaded only to revive one, where and how the sender's copy was
// loaded. (Arrow's own IPC stream would copy every column, and can only be written by the very copy of the package that made the table, which is out of
// reach when that is an ES module.) An object goes as its name and its own properties; its typed arrays are out-of-band buffers like any other.
import type { ModuleRef } from "../module-host.js";
import { corrupt } from "../wire/flat.js";
import * as tag from "../wire/tag.js";
import type { Decoder } from "./decoder.js";
import type { Encoder } from "./encoder.js";

const kinds = ["Table", "RecordBatch", "Vector", "Data", "Schema", "Field", "DataType"] as const;
type ArrowKind = (typeof kinds)[number];
const brands = kinds.map((kind) => [Symbol.for(`apache-arrow/${kind}`), kind] as const);

/** Few prototypes exist, and each is asked for every instance. */
const kindOfPrototype = new WeakMap<object, ArrowKind | "">();

function arrowKindOf(value: object): ArrowKind | undefined {
  const prototype = Object.getPrototypeOf(value) as object | null;
  if (prototype === null) return undefined;
  let kind = kindOfPrototype.get(prototype);
  if (kind === undefined) {
    kind = brands.find(([brand]) => (value as Record<symbol, unknown>)[brand] === true)?.[1] ?? "";
    kindOfPrototype.set(prototype, kind);
  }
  return kind === "" ? undefined : kind;
}

/** How one of Arrow's objects travels; plain data whose leaves are primitives and typed arrays. */
interface Description {
  /** Name under which the package exports its class. */
  readonly arrow: string;
  readonly own: Record<string, unknown>;
}

/** Writes an object whose number is already given, if it is one of Arrow's. */
export function writeArrow(encoder: Encoder, value: object): boolean {
  if (arrowKindOf(value) === undefined) return false;
  const { writer } = encoder;
  const ref = packageOf(encoder, value);
  writer.u8(tag.tagArrow);
  writer.varint(encoder.moduleIndex(ref));
  encoder.write(describe(value, new Map()));
  return true;
}

/** The package as the file sees it that defines the value's class: one of its own files, or a bundle that contains it. */
function packageOf({ state }: Encoder, value: object): ModuleRef {
  const cls: unknown = value.constructor;
  const facts = typeof cls === "function" ? state.scriptFacts(state.inspector.inspect(cls).scriptId) : undefined;
  const loader = facts?.isModule === true ? "import" : "require";
  return state.host.referToImport("apache-arrow", facts?.url ?? "", loader) ?? { kind: "package", specifier: "apache-arrow", from: "", loader };
}

function describe(value: unknown, known: Map<object, unknown>): unknown {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const before = known.get(value);
  if (before !== undefined) return before; // batches share their schema, and often their dictionaries
  if (Array.isArray(value)) return value.map((item: unknown) => describe(item, known));
  if (value instanceof Map) return new Map(Array.from(value as Map<unknown, unknown>, ([key, item]) => [key, describe(item, known)]));
  const kind = arrowKindOf(value);
  if (kind === undefined) return value;
  const isVector = kind === "Vector";
  const description: Description = { arrow: kind === "DataType" ? value.constructor.name : kind, own: {} };
  known.set(value, description);
  // Vectors are made of their data, with methods of their own for its kind.
  if (isVector) description.own["isMemoized"] = value.constructor.name === "MemoizedVector";
  for (const key of isVector ? ["data"] : Object.keys(value)) description.own[key] = describe((value as Record<string, unknown>)[key], known);
  return description;
}

type Package = Readonly<Record<string, unknown>>;

export function readArrow(decoder: Decoder): object {
  const number = decoder.reserve();
  const ref = decoder.container.modules[decoder.reader.varint()];
  if (ref?.specifier !== "apache-arrow") throw corrupt("Apache Arrow was expected");
  const description = decoder.read();
  const value = revive(description, decoder.job.state.host.binding(ref, "*") as Package, new Map());
  if (typeof value !== "object" || value === null || value === description) throw corrupt("one of Arrow's objects was expected");
  return decoder.settle(number, value);
}

function revive(value: unknown, arrow: Package, known: Map<object, object>): unknown {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const before = known.get(value);
  if (before !== undefined) return before;
  if (Array.isArray(value)) return value.map((item: unknown) => revive(item, arrow, known));
  if (value instanceof Map) return new Map(Array.from(value as Map<unknown, unknown>, ([key, item]) => [key, revive(item, arrow, known)]));
  const { arrow: name, own } = value as Partial<Description>;
  if (name === undefined || own === undefined) return value;
  const revived = name === "Vector" ? vectorOf(own, arrow, known) : (Object.create(classOf(arrow, name).prototype) as Record<string, unknown>);
  known.set(value, revived);
  if (name !== "Vector") for (const key of Object.keys(own)) (revived as Record<string, unknown>)[key] = revive(own[key], arrow, known);
  return revived;
}

/** Some classes have an underscore behind the name that they are exported under. */
function classOf(arrow: Package, name: string): { readonly prototype: object } & (new (...args: unknown[]) => object) {
  const found = arrow[name] ?? arrow[name.replace(/_$/, "")];
  if (typeof found !== "function") throw corrupt(`this version of apache-arrow has no ${name}`);
  return found as ReturnType<typeof classOf>;
}

function vectorOf(own: Record<string, unknown>, arrow: Package, known: Map<object, object>): object {
  const vector = new (classOf(arrow, "Vector"))(revive(own["data"], arrow, known)) as { memoize?: () => object };
  return own["isMemoized"] === true && vector.memoize !== undefined ? vector.memoize() : vector;
}
