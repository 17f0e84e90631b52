// GET /metrics: the cluster's load in the Prometheus text format, from what the GCS knows.
import { type ClusterStatus, fromFixedPoint, NodeState } from "@tray/protocol";

export function renderMetrics(status: ClusterStatus, jobsByStatus: Readonly<Record<string, number>>): string {
  const lines: string[] = [];
  const metric = (name: string, help: string, samples: readonly { labels: Record<string, string>; value: number }[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`);
    for (const { labels, value } of samples) {
      const text = Object.entries(labels)
        .map(([key, v]) => `${key}="${escape(v)}"`)
        .join(",");
      lines.push(`${name}${text === "" ? "" : `{${text}}`} ${value}`);
    }
  };
  const nodes = status.nodes.flatMap((n) =>
    n.info === undefined ? [] : [{ ...n, info: n.info, labels: { node_id: n.info.nodeId, node_name: n.info.nodeName } }],
  );
  const alive = nodes.filter((n) => n.info.state === NodeState.ALIVE);
  metric("tray_nodes", "Nodes by state.", [
    { labels: { state: "ALIVE" }, value: alive.length },
    { labels: { state: "DEAD" }, value: nodes.length - alive.length },
  ]);
  const amounts = (which: "total" | "available"): { labels: Record<string, string>; value: number }[] =>
    alive.flatMap((n) =>
      Object.entries(fromFixedPoint((which === "total" ? n.info.total : n.available)?.amounts ?? {})).map(([resource, value]) => ({
        labels: { ...n.labels, resource },
        value,
      })),
    );
  metric("tray_node_resources_total", "What a node offers.", amounts("total"));
  metric("tray_node_resources_available", "What of it is free.", amounts("available"));
  metric(
    "tray_node_workers",
    "Worker processes.",
    alive.map((n) => ({ labels: n.labels, value: n.workers })),
  );
  metric(
    "tray_node_queued",
    "Tasks and actors that wait on a node.",
    alive.map((n) => ({ labels: n.labels, value: n.queued })),
  );
  metric(
    "tray_node_memory_used_bytes",
    "Memory in use.",
    alive.map((n) => ({ labels: n.labels, value: n.usedMemoryBytes })),
  );
  metric(
    "tray_object_store_used_bytes",
    "Bytes in the object store.",
    alive.map((n) => ({ labels: n.labels, value: n.objectStoreUsed })),
  );
  metric(
    "tray_object_store_spilled_bytes",
    "Bytes of objects in the spill store.",
    alive.map((n) => ({ labels: n.labels, value: n.objectStoreSpilled })),
  );
  metric(
    "tray_demand",
    "What waits, by cause.",
    status.demand.map((d) => ({ labels: { kind: d.kind, cause: d.infeasible ? "infeasible" : (d.wait?.cause ?? "") }, value: d.count })),
  );
  metric(
    "tray_jobs",
    "Submitted jobs by status.",
    Object.entries(jobsByStatus).map(([status_, value]) => ({ labels: { status: status_ }, value })),
  );
  return `${lines.join("\n")}\n`;
}

const escape = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
