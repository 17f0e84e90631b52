export { type DriverOptions, type StartedDriver, startDriver } from "./boot/driver.js";
export { type StartedWorker, startWorker, type WorkerOptions } from "./boot/worker.js";
export { CoreWorker, type CoreWorkerOptions } from "./core/core-worker.js";
export { GcsLink } from "./core/gcs-link.js";
export { handleObjectId, isHandleObject } from "./core/owned-actors.js";
export { ActorClassCore, actorHandleBrand, actorInfo, handleStateOf, makeHandle, methodsOf } from "./front/actor-handle.js";
export type { Connection } from "./front/connection.js";
export * as errors from "./front/errors.js";
export { ExitActorSignal, fromCaller, publicError, refusalOf, withoutCallers } from "./front/errors.js";
export { extensions, type RemoteFactory } from "./front/extensions.js";
export { slotOf } from "./front/holdings.js";
export { type FirstWord, type IoTask, type IoThread, type IoThreadData, sayFirstWord, startIoThread } from "./front/io-thread-host.js";
export { isObjectRef, ObjectRef } from "./front/object-ref.js";
export { isObjectRefGenerator, ObjectRefGenerator } from "./front/object-ref-generator.js";
export type { ActorOptions, MethodOptions, NodeAffinity, TaskOptions } from "./front/options.js";
export { RemoteFunctionCore, rememberFunction, remoteFunctionBrand } from "./front/remote-function.js";
export { Runtime } from "./front/runtime.js";
export { type ChannelPorts, ThreadChannel } from "./thread/channel.js";
export { claimSlots, openClaim, winClaim } from "./thread/claims.js";
export { RecordReader } from "./thread/record.js";
export { type ActorCreation, dispatchToCore, outcomes, type ReturnValue, type TemplateOptions, type ToCore, ToCoreSender } from "./thread/to-core.js";
export {
  dispatchToUser,
  type ExecActor,
  type ExecTemplate,
  type Failure,
  type Located,
  type StreamResume,
  type ToUser,
  ToUserSender,
} from "./thread/to-user.js";
