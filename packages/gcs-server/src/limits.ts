// Bounds of the GCS that are not for users to tune, derived in one place; what users may tune is in @tray/config.
import type { SystemConfig } from "@tray/config";

export interface GcsLimits {
  /** Dead actors, dead nodes and finished jobs that are remembered, of each. */
  readonly historyMax: number;
  /** Changes of the view are gathered this long before they go to the raylets. */
  readonly viewFlushMs: number;
  readonly healthCheckPeriodMs: number;
  readonly healthCheckTimeoutMs: number;
  /** Beyond healthCheckTimeout, for nodes that a restarted GCS waits for: their raylets back off up to a second between attempts. */
  readonly rejoinGraceMs: number;
  /** Between attempts to place or to tell something to a node. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** After a raylet has taken the order to kill an actor's process: how long until its end is taken for granted and the next incarnation placed. */
  readonly killWaitMs: number;
  /** Messages kept per channel for subscribers that come back. */
  readonly channelHistoryMax: number;
  readonly channelsMax: number;
  /** Channels one session may subscribe to. */
  readonly subscriptionsMax: number;
  /** Dead workers remembered, to refuse what they asked for just before. */
  readonly deadWorkersMax: number;
  /** Finished jobs of this age and younger are told again to raylets that come back. */
  readonly jobEchoMs: number;
}

export function limitsOf(config: SystemConfig): GcsLimits {
  return {
    historyMax: config.gcsHistoryMax,
    viewFlushMs: 25,
    healthCheckPeriodMs: config.healthCheckPeriod,
    healthCheckTimeoutMs: config.healthCheckTimeout,
    rejoinGraceMs: 2000,
    retryMinMs: 50,
    retryMaxMs: 2000,
    killWaitMs: 3000,
    channelHistoryMax: 256,
    channelsMax: 20_000,
    subscriptionsMax: 20_000,
    deadWorkersMax: 10_000,
    jobEchoMs: 600_000,
  };
}
