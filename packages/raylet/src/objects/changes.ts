// Changes: who waits until something about an object changes: it was granted room, sealed, aborted, deleted; or refused room.
import type { TrayError } from "@tray/common";

export class Changes {
  private readonly waiters = new Map<string, Set<(refusal?: TrayError) => void>>();

  /** Resolves at the next change. Rejects, after `giveUp`, with the refusal or, when `signal` aborts, with its reason. */
  next(objectId: string, signal: AbortSignal, giveUp: () => void = () => undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiters = this.waiters.get(objectId) ?? new Set();
      this.waiters.set(objectId, waiters);
      const stop = (): void => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.waiters.get(objectId) === waiters) this.waiters.delete(objectId);
        signal.removeEventListener("abort", aborted);
      };
      const wake = (refusal?: TrayError): void => {
        stop();
        if (refusal === undefined) return resolve();
        giveUp();
        reject(refusal);
      };
      const aborted = (): void => {
        stop();
        giveUp();
        reject(signal.reason as Error);
      };
      waiters.add(wake);
      signal.addEventListener("abort", aborted, { once: true });
    });
  }

  tell(objectId: string, refusal?: TrayError): void {
    for (const wake of [...(this.waiters.get(objectId) ?? [])]) wake(refusal);
  }
}
