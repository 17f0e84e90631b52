import { type GcsHandlers, required } from "../handlers.js";
import type { FunctionTable } from "./table.js";

export function functionHandlers(functions: FunctionTable): Pick<GcsHandlers, "putFunction" | "getFunction"> {
  return {
    putFunction: async ({ jobId, functionId, blob }) => {
      await functions.put(required(jobId, "jobId"), required(functionId, "functionId"), blob);
      return {};
    },
    getFunction: async ({ jobId, functionId }, { signal }) => ({ blob: Buffer.from(await functions.get(jobId, functionId, signal)) }),
  };
}
