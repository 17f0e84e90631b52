import { answer, parseQuery } from "./query.js";
import { resources } from "./rows.js";

const rows = [
  {
    node_id: "b",
    node_ip: "h",
    is_head_node: false,
    state: "DEAD",
    state_message: null,
    node_name: "x",
    resources_total: {},
    labels: {},
    start_time_ms: 1,
    end_time_ms: 2,
  },
  {
    node_id: "a",
    node_ip: "h",
    is_head_node: true,
    state: "ALIVE",
    state_message: null,
    node_name: "y",
    resources_total: {},
    labels: {},
    start_time_ms: 1,
    end_time_ms: 0,
  },
];
const ask = (query: string): { data: { result: { total: number; num_filtered: number; result: Record<string, unknown>[] } } } =>
  answer(rows, resources.nodes, parseQuery(new URLSearchParams(query), resources.nodes)) as never;

describe("the State API's query", () => {
  it("sorts by id, hides detail, counts the funnel", () => {
    const { total, num_filtered, result } = ask("limit=1").data.result;
    expect({ total, num_filtered, ids: result.map((r) => r["node_id"]) }).toEqual({ total: 2, num_filtered: 2, ids: ["a"] });
    expect(result[0]).not.toHaveProperty("start_time_ms");
    expect(ask("detail=True").data.result.result[0]).toHaveProperty("start_time_ms", 1);
  });
  it("filters by type: text regardless of case, booleans as Python writes them", () => {
    const ids = (query: string): unknown[] => ask(query).data.result.result.map((r) => r["node_id"]);
    expect(ids("filter_keys=state&filter_predicates==&filter_values=alive")).toEqual(["a"]);
    expect(ids("filter_keys=is_head_node&filter_predicates=!%3D&filter_values=True")).toEqual(["b"]);
  });
  it("refuses columns that do not exist and limits that are too large", () => {
    expect(() => ask("filter_keys=colour&filter_predicates==&filter_values=x")).toThrow("The given filter column colour is not supported");
    expect(() => ask("limit=10001")).toThrow("exceeds the supported limit 10000");
  });
});
