export { checkSerializer, type ClassSerializer, Codec, type CodecOptions, type DeserializeOptions, type SerializedFunction } from "./codec.js";
export { createModuleHost, type ModuleHost, type ModuleHostOptions, type ModuleRef } from "./module-host.js";
export type { Extension } from "./state.js";
export { bufferAlignment, flatten, type Serialized, writeFlat } from "./wire/flat.js";
