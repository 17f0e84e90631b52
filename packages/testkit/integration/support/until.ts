// Waiting for what the outside world reports no event for: a process that ends, a row in `tray status`. The one place of the suite that polls.
import { setTimeout as pause } from "node:timers/promises";

const firstPauseMs = 5;
const longestPauseMs = 100;

/** Asks until the answer is neither undefined nor false. @throws after `timeoutMs`, with `what` and the last thing that was seen. */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { timeoutMs = 15_000, seen = (): unknown => undefined }: { timeoutMs?: number; seen?: () => unknown } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline) {
      const last = seen();
      throw new Error(`after ${timeoutMs} ms still waiting for ${what}${last === undefined ? "" : `; last seen: ${JSON.stringify(last)}`}`);
    }
    await pause(pauseMs);
  }
}
