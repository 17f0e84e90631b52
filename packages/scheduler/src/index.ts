export { isFeasible, utilisation } from "./candidate.js";
export { ClusterView, entryOf, type NodeSnapshot, snapshotOf } from "./cluster-view.js";
export { estimatedWaitMs, queuedWorkMs, transferMs } from "./estimate.js";
export { holds, type LabelCondition, type Labels, matches, parseLabelSelector } from "./label-selector.js";
export { place } from "./place.js";
export { type PlacedCount, type PlaceRequest, type PlaceResult, requestOf, type Strategy } from "./request.js";
