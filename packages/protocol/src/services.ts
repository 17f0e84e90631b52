// Who can be asked what. One record per service; handlers and clients are typed from it (service.ts), so a missing handler does not compile.
import * as core from "./generated/tray/v1/core.js";
import * as gcs from "./generated/tray/v1/gcs.js";
import * as raylet from "./generated/tray/v1/raylet.js";
import * as task from "./generated/tray/v1/task.js";
import { defineService, method, oneWay } from "./service.js";

/** Served by the gcs-server. Every method may be repeated: the server recognises requests by the ids in them. */
export const GcsService = defineService("gcs", {
  // from raylets
  registerNode: method(gcs.RegisterNodeRequest, gcs.RegisterNodeReply),
  unregisterNode: method(gcs.UnregisterNodeRequest, gcs.Empty),
  heartbeat: oneWay(gcs.Heartbeat),
  actorCreated: method(gcs.ActorCreated, gcs.Empty),
  actorCreationFailed: method(gcs.ActorCreationFailed, gcs.Empty),
  workerDied: method(gcs.WorkerDied, gcs.Empty),
  place: method(gcs.PlaceRequest, gcs.PlaceReply),
  // from drivers and workers
  registerJob: method(gcs.RegisterJobRequest, gcs.RegisterJobReply),
  finishJob: method(gcs.FinishJobRequest, gcs.Empty),
  putFunction: method(gcs.PutFunctionRequest, gcs.Empty),
  getFunction: method(gcs.GetFunctionRequest, gcs.GetFunctionReply), // answers when the function is there
  registerActor: method(gcs.RegisterActorRequest, gcs.RegisterActorReply),
  killActor: method(gcs.KillActorRequest, gcs.Empty),
  getActor: method(gcs.GetActorRequest, gcs.GetActorReply),
  // from anyone
  listActors: method(gcs.ListActorsRequest, gcs.ListActorsReply),
  listNodes: method(gcs.Empty, gcs.ListNodesReply),
  listJobs: method(gcs.Empty, gcs.ListJobsReply),
  status: method(gcs.Empty, gcs.ClusterStatus),
  kvPut: method(gcs.KvPutRequest, gcs.KvPutReply),
  kvGet: method(gcs.KvKey, gcs.KvGetReply),
  kvDelete: method(gcs.KvKey, gcs.Empty),
  kvList: method(gcs.KvListRequest, gcs.KvListReply),
  kvCas: method(gcs.KvCasRequest, gcs.KvCasReply),
  subscribe: method(gcs.SubscribeRequest, gcs.Empty),
  publish: oneWay(gcs.PublishBatch), // log lines and errors, from raylets
});

/** Served by whoever subscribes at the GCS. */
export const SubscriberService = defineService("subscriber", {
  published: oneWay(gcs.PublishBatch),
});

/** Served by raylets to the GCS. */
export const NodeService = defineService("node", {
  viewChanged: oneWay(gcs.NodeView),
  createActor: method(raylet.CreateActorRequest, gcs.Empty), // accepted; the outcome comes as actorCreated or actorCreationFailed
  killActor: method(raylet.KillActorOnNode, gcs.Empty),
  jobFinished: method(gcs.JobInfo, gcs.Empty), // end its workers, drop its objects
  probe: method(gcs.Empty, gcs.Empty),
  declaredDead: oneWay(gcs.UnregisterNodeRequest), // the cluster has given this node id up: end
});

/** Served by raylets to workers, drivers, owners anywhere, and to tools. */
export const RayletService = defineService("raylet", {
  registerWorker: method(raylet.RegisterWorkerRequest, raylet.RegisterWorkerReply),
  taskBlocked: oneWay(raylet.TaskBlocked),
  workerActivity: oneWay(raylet.WorkerActivity),
  leaseDemand: oneWay(raylet.LeaseDemand),
  leaseReturn: oneWay(raylet.LeaseReturn),
  workerFailure: method(raylet.WorkerFailureRequest, raylet.WorkerFailureReply), // answers when the process is known to have ended, or at once when unknown
  killWorker: method(raylet.KillWorkerRequest, gcs.Empty),
  createObject: method(raylet.CreateObjectRequest, raylet.CreateObjectReply), // waits for room
  sealObject: method(raylet.SealObjectRequest, gcs.Empty),
  getObjects: method(raylet.GetObjectsRequest, raylet.GetObjectsReply), // pins for the calling worker until releaseObjects
  releaseObjects: oneWay(raylet.ReleaseObjects),
  deleteObjects: oneWay(raylet.DeleteObjects),
  status: method(gcs.Empty, raylet.RayletStatus),
  listObjects: method(raylet.ListObjectsRequest, raylet.ListObjectsReply),
  listLogs: method(gcs.Empty, raylet.ListLogsReply),
  readLog: method(raylet.ReadLogRequest, raylet.ReadLogReply),
  startJob: method(raylet.StartJobRequest, raylet.StartJobReply),
  stopJob: method(raylet.StopJobRequest, raylet.StopJobReply),
  shutdownNode: method(raylet.ShutdownNodeRequest, gcs.Empty),
});

/** Served by core workers to the raylets that they hold leases from or run under. */
export const LeaseHolderService = defineService("leaseHolder", {
  leaseGranted: oneWay(raylet.LeaseGrant),
  leaseSpillback: oneWay(raylet.LeaseSpillback),
  leaseRejected: oneWay(raylet.LeaseReject),
  leaseEnded: oneWay(raylet.LeaseEnded),
});

/** Served by workers: to the submitters of tasks, and (becomeActor, exit) to their raylet. */
export const WorkerService = defineService("worker", {
  pushTasks: oneWay(task.PushTasks),
  stealTasks: oneWay(task.StealTasks),
  cancelTask: oneWay(task.CancelTask),
  confirmReturns: oneWay(task.ConfirmReturns),
  streamProgress: oneWay(task.StreamProgress),
  becomeActor: method(raylet.BecomeActorRequest, raylet.BecomeActorReply),
  exit: oneWay(raylet.ExitWorker),
});

/** Served by submitters to the workers that run their tasks. */
export const CallerService = defineService("caller", {
  tasksDone: oneWay(task.TasksDone),
  itemsMade: oneWay(task.StreamItems),
});

/** Served by owners to borrowers. */
export const OwnerService = defineService("owner", {
  resolve: method(core.ResolveRequest, core.ResolveReply),
  addBorrower: method(core.AddBorrowerRequest, core.AddBorrowerReply),
  removeBorrower: oneWay(core.RemoveBorrower),
  locationChanged: oneWay(core.LocationChange),
});

/** Served by workers and drivers to their raylet, whose object store they read. */
export const StoreReaderService = defineService("storeReader", {
  /** The store is full of what readers hold on to: values that nobody can reach any more must not count among them. */
  collectGarbage: oneWay(gcs.Empty),
});

/** Served by workers and drivers to their raylet. */
export const IntrospectionService = defineService("introspection", {
  listReferences: method(core.ListReferencesRequest, core.ListReferencesReply),
});
