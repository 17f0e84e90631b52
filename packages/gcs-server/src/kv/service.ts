import { type GcsHandlers, required } from "../handlers.js";
import type { KvTable } from "./table.js";

const none = Buffer.alloc(0);

export function kvHandlers(kv: KvTable): Pick<GcsHandlers, "kvPut" | "kvGet" | "kvDelete" | "kvList" | "kvCas"> {
  return {
    kvPut: async ({ namespace, key, value, overwrite }) => ({ stored: await kv.put(namespace, required(key, "key"), value, overwrite) }),
    kvGet: ({ namespace, key }) => {
      const value = kv.get(namespace, required(key, "key"));
      return { found: value !== undefined, value: value === undefined ? none : Buffer.from(value) };
    },
    kvDelete: async ({ namespace, key }) => {
      await kv.delete(namespace, required(key, "key"));
      return {};
    },
    kvList: ({ namespace, prefix, values }) => ({
      entries: [...kv.list(namespace, prefix)].map(([key, value]) => ({ key, value: values ? Buffer.from(value) : none })),
    }),
    kvCas: async ({ namespace, key, expected, value }) => {
      const { swapped, current } = await kv.cas(namespace, required(key, "key"), expected, value);
      return { swapped, current: current === undefined ? none : Buffer.from(current) };
    },
  };
}
