import { Decoder, type DecodeJob } from "../value/decoder.js";
import { type ClassTableEntry, readContainer } from "../value/tables.js";
import { corrupt } from "../wire/flat.js";

/** Classes of one value: those known here are taken as they are, others are revived once (C1). */
export class ClassLoader {
  readonly #entries: readonly ClassTableEntry[];
  /** Being revived: who waits for the class to exist. Made when needed: most values hold no class. */
  #loading: Map<string, ((cls: Function) => void)[]> | undefined;

  constructor(entries: readonly ClassTableEntry[]) {
    this.#entries = entries;
  }

  load(id: string, job: DecodeJob): Function {
    const known = job.state.classById(id);
    if (known !== undefined) return known;
    this.#loading ??= new Map();
    if (this.#loading.has(id)) throw corrupt("a class is needed while it is being defined");
    const blob = this.#entries.find((entry) => entry.id === id)?.blob;
    if (blob === undefined || blob.byteLength === 0) throw corrupt(`class ${id} is not known here`);
    this.#loading.set(id, []);
    try {
      // The class's container must not depend on memory that its carrier may reuse: the blob is kept for forwarding.
      const own = Uint8Array.prototype.slice.call(blob);
      const container = readContainer(own, true);
      const decoder = new Decoder(container, job);
      decoder.defining = { id, blob: own, dependencies: container.classes.map((c) => c.id) };
      const cls = decoder.read();
      if (typeof cls !== "function") throw corrupt("a class was expected");
      return cls;
    } finally {
      this.#loading.delete(id);
    }
  }

  whenLoaded(id: string, job: DecodeJob, use: (cls: Function) => void): void {
    const waiting = job.state.classById(id) === undefined ? this.#loading?.get(id) : undefined;
    if (waiting === undefined) use(this.load(id, job));
    else waiting.push(use);
  }

  /** The class exists; its captured variables may still be missing. */
  defined(id: string, cls: Function): void {
    const waiting = this.#loading?.get(id) ?? [];
    this.#loading?.set(id, []);
    for (const use of waiting) use(cls);
  }
}
