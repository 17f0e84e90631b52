// Apache Arrow, when it is installed: it is the user's package, not one of ours.
import { createRequire } from "node:module";
import { Codec } from "../codec.js";
import { createModuleHost } from "../module-host.js";
import { flatten } from "../wire/flat.js";

interface Columnar {
  readonly numRows: number;
  readonly schema: unknown;
  toArray(): ({ toJSON(): unknown } | null)[];
}
interface Vector {
  get(index: number): unknown;
  memoize(): Vector;
  readonly data: readonly { readonly values: Uint8Array }[];
}
interface Table extends Columnar {
  getChild(name: string): Vector;
  slice(from: number, to: number): Table;
  select(names: string[]): Table;
  concat(other: Table): Table;
  readonly batches: readonly Columnar[];
}
interface Type {
  toString(): string;
}
type TypeClass = new (...args: unknown[]) => Type;
interface Arrow {
  readonly Table: new (columns?: Record<string, Vector>) => Table;
  readonly DateMillisecond: TypeClass;
  readonly TimestampMillisecond: TypeClass;
  readonly Int32: TypeClass;
  readonly Int64: TypeClass;
  readonly Float32: TypeClass;
  readonly Utf8: TypeClass;
  readonly FixedSizeList: TypeClass;
  readonly Field: TypeClass;
  tableFromArrays(columns: Record<string, unknown>): Table;
  tableFromJSON(rows: object[]): Table;
  tableToIPC(table: Columnar): Uint8Array;
  tableFromIPC(bytes: Uint8Array): Table;
  vectorFromArray(values: readonly unknown[], type?: Type): Vector;
}

const arrow = ((): Arrow | undefined => {
  try {
    return createRequire(__filename)("apache-arrow") as Arrow;
  } catch {
    return undefined;
  }
})();

const modules = createModuleHost({ workingDir: __dirname });
const sender = new Codec({ modules });
const receiver = new Codec({ modules });
const trip = <T>(value: T): T => receiver.deserialize(flatten(sender.serialize(value))) as T;
const rowsOf = (table: Columnar): string =>
  JSON.stringify(
    table.toArray().map((row) => row?.toJSON()),
    (_, value: unknown) => (typeof value === "bigint" ? `${value}n` : value),
  );

(arrow === undefined ? describe.skip : describe)("Apache Arrow", () => {
  const library = arrow as Arrow;
  const { Table, tableFromArrays, tableFromJSON, tableFromIPC, tableToIPC, vectorFromArray } = library;
  const rows = 1000;
  const table = tableFromArrays({
    number: Float64Array.from({ length: rows }, (_, i) => i / 2),
    text: Array.from({ length: rows }, (_, i) => `row ${i % 7}`),
    flag: Array.from({ length: rows }, (_, i) => (i % 3 === 0 ? null : i % 2 === 0)),
  });

  it("columns are views of the bytes that arrived, and of the sender's memory until then", () => {
    const serialized = sender.serialize({ table });
    const { values } = table.getChild("number").data[0] as { values: Uint8Array };
    expect(serialized.buffers.some((buffer) => buffer.buffer === values.buffer)).toBe(true);
    const flat = flatten(serialized);
    const back = (receiver.deserialize(flat) as { table: Table }).table;
    expect(back.getChild("number").data[0]?.values.buffer).toBe(flat.buffer);
    expect(back.getChild("text").get(8)).toBe("row 1");
  });

  const nested = tableFromJSON([
    { a: 1, list: [1, 2], object: { p: "x", q: null } },
    { a: null, list: [], object: { p: "y", q: 2 } },
  ]);
  const typed = new Table({
    date: vectorFromArray([new Date(0), null], new library.DateMillisecond()),
    time: vectorFromArray([1, 2], new library.TimestampMillisecond("UTC")),
    long: vectorFromArray([1n, 2n ** 62n], new library.Int64()),
    text: vectorFromArray(["é", "日本"], new library.Utf8()),
    pair: vectorFromArray(
      [
        [1, 2],
        [3, 4],
      ],
      new library.FixedSizeList(2, new library.Field("v", new library.Float32())),
    ),
  });
  it.each<[string, Table]>([
    ["a table", table],
    ["a slice", table.slice(10, 20)],
    ["some columns", table.select(["text"])],
    ["several batches", table.slice(0, 5).concat(table.slice(900, 905))],
    ["an empty one", new Table()],
    ["nested types", nested],
    ["dates, long numbers, lists of fixed size", typed],
  ])("%s", (_name, value) => {
    const back = trip(value);
    expect(back).toBeInstanceOf(Table);
    expect([back.numRows, String(back.schema), rowsOf(back)]).toEqual([value.numRows, String(value.schema), rowsOf(value)]);
    // Not a look-alike: the package's own writer takes it.
    expect(rowsOf(tableFromIPC(tableToIPC(back)))).toBe(rowsOf(value));
    expect(rowsOf(trip(back))).toBe(rowsOf(value));
  });

  it("batches, vectors, schemas and types by themselves; what tables share they share afterwards", () => {
    const words = vectorFromArray(["a", "b"], new library.Utf8());
    const back = trip({
      batch: table.batches[0],
      words,
      cached: words.memoize(),
      schema: table.schema,
      type: new library.Int32(),
      same: [table, table],
    });
    expect([back.batch?.numRows, back.words.get(1), back.cached.get(0), String(back.schema), String(back.type)]).toEqual([
      rows,
      "b",
      "a",
      String(table.schema),
      "Int32",
    ]);
    expect(back.same[0]).toBe(back.same[1]);
    expect(back.same[0]?.batches[0]?.schema).toBe(back.same[0]?.schema);
  });
});
