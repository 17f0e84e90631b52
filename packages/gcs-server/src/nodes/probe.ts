// One question to a node whose session broke: do you live? A raylet that was killed refuses the connection at once; one behind a cut network gives no
// answer until the patience for silence is over. Either way it is dead then.
import { messageOf } from "@tray/common";
import { NodeService } from "@tray/protocol";
import type { Endpoint } from "@tray/rpc";

/** @returns why it counts as dead, or undefined when it answered. */
export async function probe(
  endpoint: Endpoint,
  raylet: string,
  incarnation: string | undefined,
  patienceMs: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  const session = endpoint.connect(raylet, {
    reconnect: { giveUpMs: patienceMs, refusedMeansGone: true },
    ...(incarnation === undefined ? {} : { expectIncarnation: incarnation }),
  });
  const onAbort = (): void => session.close("the GCS ends");
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await session.opened();
    await session.client(NodeService).probe({}, { timeoutMs: patienceMs, retry: true, signal });
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    signal.removeEventListener("abort", onAbort);
    session.close("probe done");
  }
}
