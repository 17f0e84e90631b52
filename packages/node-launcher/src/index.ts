export { liveDaemon, readAddressFile, readJson, writeJsonAtomic } from "./address-file.js";
export {
  defaultTokenFile,
  ensureTokenFile,
  type Environment,
  newToken,
  readToken,
  type TokenLookup,
  type TokenSource,
  tokenSource,
  writeTokenFile,
} from "./auth-token.js";
export {
  dataDirsInUse,
  findLocalCluster,
  gcsAddressOf,
  inspectNode,
  isRunning,
  listLocalNodes,
  type LocalCluster,
  type LocalNode,
  type Secrets,
  secretsFor,
} from "./discover.js";
export { headSession, type HeadSession } from "./head-session.js";
export {
  addressFileOf,
  configFileOf,
  type DaemonName,
  defaultDataDir,
  linkLatest,
  listNodeDirs,
  listSessions,
  logFileOf,
  makeNodeDirs,
  newSessionName,
  nodeLayout,
  type NodeLayout,
  runDirOf,
  sessionLayout,
  type SessionLayout,
  shmRoot,
} from "./layout.js";
export { type Commands, commandsIn, daemonEnvironment, type HeadOptions, type NodeOptions, type NodePlan, planNode } from "./plan.js";
export {
  environmentOf,
  isAlive,
  isSameProcess,
  killBelongings,
  listProcesses,
  processConfigOf,
  type ProcessEntry,
  processesUnder,
  readProcess,
  signalProcess,
  withDescendants,
} from "./processes.js";
export { type LocalClusterHandle, type LocalClusterOptions, startLocalCluster } from "./start-local.js";
export { sweepDeadNodes, sweepRaylet } from "./leftovers.js";
export { type KeepSessions, removeOldSessions } from "./old-sessions.js";
export { StartError, type StartedNode, startNode } from "./start-node.js";
export { readTlsDir, type TlsIdentity, tlsDirOf, tlsDirVariable, type TlsLookup } from "./tls-dir.js";
export { liveSessionNames, removeStaleArenas, stopNodes, type StopOptions, type StopResult, sweepNode } from "./stop.js";
export { superviseMain, type SupervisorProcess } from "./supervise-main.js";
export { NodeSupervisor, type Report, type SupervisorHost } from "./supervisor.js";
