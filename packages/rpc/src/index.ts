export { Endpoint, type EndpointOptions } from "./endpoint.js";
export { FaultPlan, type MethodFaults } from "./faults.js";
export { GrpcTransport, type GrpcTransportOptions, type TlsFiles } from "./grpc/transport.js";
export { defaultLimits, type Limits } from "./limits.js";
export { MemoryNetwork, type MemoryNetworkOptions } from "./memory/network.js";
export { type CallContext, type ConnectOptions, type Handlers, type Session, type SessionState, sessionEdges } from "./session/session.js";
export type { Accept, Link, LinkFailure, LinkHandlers, Listener, Transport } from "./transport.js";
