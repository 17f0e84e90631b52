export { faultKinds, type FaultKind } from "./faults/profile.js";
export { simulate, type SimulationOptions, type SimulationResult } from "./simulation.js";
export { workloads } from "./workload/workloads.js";
