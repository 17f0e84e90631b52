export { actorEdges } from "./actors/states.js";
export { GcsServer, type GcsServerOptions } from "./gcs-server.js";
export { nodeEdges } from "./nodes/core.js";
export type { ClusterIdentity } from "./storage/identity.js";
