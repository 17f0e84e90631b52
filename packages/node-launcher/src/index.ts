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
  hasEnded,
  inspectNode,
  isRunning,
  listLocalNodes,
  type LocalCluster,
  type LocalNode,
  tokenFileFor,
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
  sessionLayout,
  type SessionLayout,
  shmRoot,
} from "./layout.js";
export { type Commands, commandsIn, daemonEnvironment, type HeadOptions, type NodeOptions, type NodePlan, planNode } from "./plan.js";
export {
  environmentOf,
  isAlive,
  isSameProcess,
  listProcesses,
  processConfigOf,
  type ProcessEntry,
  processesUnder,
  readProcess,
  signalProcess,
  withDescendants,
} from "./processes.js";
export { type LocalClusterHandle, type LocalClusterOptions, startLocalCluster } from "./start-local.js";
export { StartError, type StartedNode, startNode } from "./start-node.js";
export { liveSessionNames, removeStaleArenas, stopNodes, type StopOptions, type StopResult, sweepNode } from "./stop.js";
export { superviseMain, type SupervisorProcess } from "./supervise-main.js";
export { NodeSupervisor, type Report, type SupervisorHost } from "./supervisor.js";
