// What one node is, and what all concerns of its raylet share.
import type { Clock, Logger, Metrics, Random } from "@tray/common";
import type { SystemConfig } from "@tray/config";
import { NodeInfo, NodeState, type Resources } from "@tray/protocol";

/** The facts about a node that do not change while it lives. */
export interface NodeFacts {
  readonly nodeId: string;
  readonly name: string;
  /** Under which others reach it. */
  readonly host: string;
  readonly hostname: string;
  readonly isHead: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Fixed-point. */
  readonly total: Resources;
  readonly sessionDir: string;
  readonly pid: number;
}

/** Everything ambient, and who we are. */
export interface RayletEnvironment {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly config: SystemConfig;
  readonly node: NodeFacts;
}

/** The node as the cluster is told about it. */
export function nodeInfoOf(node: NodeFacts, at: { raylet: string; bulk: string; objectStoreBytes: number; startWallMs: number }): NodeInfo {
  return NodeInfo.fromPartial({
    nodeId: node.nodeId,
    nodeName: node.name,
    host: node.host,
    hostname: node.hostname,
    raylet: at.raylet,
    bulk: at.bulk,
    isHead: node.isHead,
    pid: node.pid,
    labels: { ...node.labels },
    total: { amounts: { ...node.total } },
    objectStoreBytes: at.objectStoreBytes,
    state: NodeState.ALIVE,
    startWallMs: at.startWallMs,
    sessionDir: node.sessionDir,
  });
}
