// What waits in the cluster, by shape, kind and cause: what `tray status` shows and an autoscaler acts on. Pure.
import { type ActorInfo, type ClassLoad, Demand, type ResourceMap, resourcesKey, type WaitReason } from "@tray/protocol";

export function foldDemand(loads: Iterable<ClassLoad>, waitingActors: Iterable<ActorInfo>): Demand[] {
  const byKey = new Map<string, Demand>();
  for (const { shape, queued, kind, wait, infeasible } of loads) {
    if (queued > 0) addTo(byKey, shape, queued, kind === "" ? "task" : kind, wait, infeasible);
  }
  for (const { spec, wait } of waitingActors) addTo(byKey, spec?.requirements?.resources, 1, "actor", wait, wait?.cause === "infeasible");
  return [...byKey.values()].sort((a, b) => b.count - a.count);
}

function addTo(
  byKey: Map<string, Demand>,
  shape: ResourceMap | undefined,
  count: number,
  kind: string,
  wait: WaitReason | undefined,
  infeasible: boolean,
): void {
  const key = `${kind}|${wait?.cause ?? ""}|${infeasible}|${resourcesKey(shape?.amounts ?? {})}`;
  const sum = byKey.get(key);
  if (sum === undefined) {
    byKey.set(key, Demand.create({ shape: shape ?? { amounts: {} }, count, kind, wait, infeasible }));
    return;
  }
  sum.count += count;
  // The one that waits longest speaks for all.
  if (wait !== undefined && (sum.wait === undefined || wait.sinceWallMs < sum.wait.sinceWallMs)) sum.wait = wait;
}
