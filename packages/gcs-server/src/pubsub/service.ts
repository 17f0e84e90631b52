import { type Logger, TrayError } from "@tray/common";
import type { GcsHandlers } from "../handlers.js";
import type { Journal } from "../storage/journal.js";
import type { PubSubHub } from "./hub.js";

/** What others may publish through us: log lines and errors, from raylets. The rest is ours to say. */
const open = /^(logs|errors)\//;

export function pubsubHandlers(
  hub: PubSubHub,
  journal: Journal,
  logger: Logger,
  subscriptionsMax: number,
): Pick<GcsHandlers, "subscribe" | "publish"> {
  return {
    subscribe: async ({ subscriptions }, { session }) => {
      if (subscriptions.length > subscriptionsMax) {
        throw new TrayError("RESOURCE_EXHAUSTED", `${subscriptions.length} subscriptions of one session; the limit is ${subscriptionsMax}`);
      }
      await journal.durable(); // the present state that follows must not be ahead of the disk
      hub.subscribe(session, subscriptions);
      return {};
    },
    publish: ({ publications }, { peer }) => {
      for (const { channel, body } of publications) {
        if (body !== undefined && open.test(channel)) hub.publish(channel, body);
        else logger.warn("publication refused", { channel, peer: peer.id });
      }
    },
  };
}
