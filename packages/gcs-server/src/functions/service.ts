import { TrayError } from "@tray/common";
import { type GcsHandlers, required } from "../handlers.js";
import type { FunctionTable } from "./table.js";

/** `isOver`: nothing of the job will run any more, and nobody puts its functions again: who came late would wait for ever. */
export function functionHandlers(functions: FunctionTable, isOver: (jobId: string) => boolean): Pick<GcsHandlers, "putFunction" | "getFunction"> {
  return {
    putFunction: async ({ jobId, functionId, blob }) => {
      await functions.put(required(jobId, "jobId"), required(functionId, "functionId"), blob);
      return {};
    },
    getFunction: async ({ jobId, functionId }, { signal }) => {
      if (isOver(jobId)) throw new TrayError("NOT_FOUND", `job ${jobId} has ended; its functions are gone`);
      return { blob: Buffer.from(await functions.get(jobId, functionId, signal)) };
    },
  };
}
