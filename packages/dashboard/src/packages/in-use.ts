import { isTerminal, type JobRecord } from "../jobs/record.js";

/** Names of the packages of jobs that have not ended. Any text of a runtime environment may name one: keys that this version does not know included. */
export function packagesInUse(records: readonly JobRecord[]): Set<string> {
  const names = new Set<string>();
  const look = (value: unknown): void => {
    if (typeof value === "string") {
      const name = /^gcs:\/\/(.+)$/.exec(value)?.[1];
      if (name !== undefined) names.add(name);
    } else if (typeof value === "object" && value !== null) Object.values(value).forEach(look);
  };
  for (const record of records) if (!isTerminal(record.status)) look(record.runtimeEnv);
  return names;
}
