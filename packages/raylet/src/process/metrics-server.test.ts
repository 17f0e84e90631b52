import { Metrics } from "@tray/common";
import { MetricsServer, renderSamples } from "./metrics-server.js";

it("writes samples by name, with types, and labels escaped", () => {
  const metrics = new Metrics();
  metrics.gauge("tray_b", () => 1.5, { state: 'a "quoted"\\\n' });
  metrics.count("tray_a_total", { kind: "x" }, 2);
  metrics.gauge("tray_b", () => 2);
  expect(renderSamples(metrics.collect(), { node_name: "n" })).toBe(
    [
      "# TYPE tray_a_total counter",
      'tray_a_total{node_name="n",kind="x"} 2',
      "# TYPE tray_b gauge",
      'tray_b{node_name="n",state="a \\"quoted\\"\\\\\\n"} 1.5',
      'tray_b{node_name="n"} 2',
      "",
    ].join("\n"),
  );
});

it("answers those who have the token, and tells when its port is taken", async () => {
  const metrics = new Metrics();
  metrics.count("tray_asked_total");
  const options = { metrics, token: "secret", tls: undefined, labels: {} };
  const server = new MetricsServer(options);
  const second = new MetricsServer(options);
  try {
    const port = await server.listen("127.0.0.1", 0);
    const ask = async (path: string, authorization?: string, method = "GET"): Promise<[number, string]> => {
      const headers: Record<string, string> = { Connection: "close", ...(authorization === undefined ? {} : { Authorization: authorization }) };
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers });
      return [response.status, await response.text()];
    };
    expect(await ask("/metrics?x", "Bearer secret")).toEqual([200, "# TYPE tray_asked_total counter\ntray_asked_total 1\n"]);
    expect((await ask("/metrics"))[0]).toBe(401);
    expect((await ask("/metrics", "Bearer other"))[0]).toBe(401);
    expect((await ask("/", "Bearer secret"))[0]).toBe(404);
    expect((await ask("/metrics", "Bearer secret", "POST"))[0]).toBe(405);
    await expect(second.listen("127.0.0.1", port)).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining(String(port)) });
  } finally {
    server.close();
    second.close();
  }
});
