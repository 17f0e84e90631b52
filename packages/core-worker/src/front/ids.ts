import { systemRandom } from "@tray/common";
import { type ActorId, type JobId, newActorId } from "@tray/protocol";

export const newActorIdFrom = (jobId: string): ActorId => newActorId(systemRandom, jobId as JobId);
