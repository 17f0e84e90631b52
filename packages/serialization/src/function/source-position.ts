// Where code stands in the file that its author wrote.
//
// Loaders such as tsx compile a file in memory: what V8 runs is in no file, and says so in an inline source map. Positions in it mean nothing to a user,
// least of all in another process, so they are translated here, where the map is. A map that points to other files (the output of a bundler or of tsc on
// disk) is left alone: V8 then runs what is in the file it names, and that file's positions are right.
import { SourceMap, type SourceMapPayload } from "node:module";
import { dirname, resolve } from "node:path";
import { pathOfUrl } from "../module-host.js";

/** Both zero-based. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

const inlineMap = /^data:application\/json[^,]*;base64,/;

export class ScriptPositions {
  readonly #source: string;
  /** Offset of each line's first character. */
  readonly #lines: number[] = [0];
  readonly #map: SourceMap | undefined;

  constructor(url: string, source: string, sourceMapUrl: string) {
    this.#source = source;
    for (let i = source.indexOf("\n"); i >= 0; i = source.indexOf("\n", i + 1)) this.#lines.push(i + 1);
    this.#map = readMap(url, sourceMapUrl);
  }

  get isMapped(): boolean {
    return this.#map !== undefined;
  }

  /** Offset of `text`, which is a function's, given some position inside it as V8 tells it. */
  find(text: string, inside: Position): number | undefined {
    const offset = (this.#lines[inside.line] ?? 0) + inside.column;
    // The last one that begins at or before: the same text may stand in the script several times.
    const at = this.#source.lastIndexOf(text, offset);
    return at >= 0 && offset <= at + text.length ? at : undefined;
  }

  /** In the script as V8 runs it. */
  generated(offset: number): Position {
    let low = 0;
    let high = this.#lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#lines[middle] as number) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low, column: offset - (this.#lines[low] as number) };
  }

  /** In the author's file; undefined where the map has no mark for just this offset. */
  original(offset: number): Position | undefined {
    const at = this.generated(offset);
    if (this.#map === undefined) return at;
    const entry = this.#map.findEntry(at.line, at.column);
    if (!("originalLine" in entry) || entry.generatedLine !== at.line || entry.generatedColumn !== at.column) return undefined;
    return { line: entry.originalLine, column: entry.originalColumn };
  }
}

function readMap(url: string, sourceMapUrl: string): SourceMap | undefined {
  const path = pathOfUrl(url);
  const prefix = inlineMap.exec(sourceMapUrl)?.[0];
  if (path === undefined || prefix === undefined) return undefined;
  try {
    const payload = JSON.parse(Buffer.from(sourceMapUrl.slice(prefix.length), "base64").toString()) as SourceMapPayload;
    const [source, ...others] = payload.sources;
    if (source === undefined || others.length > 0) return undefined;
    const original = pathOfUrl(source) ?? resolve(dirname(path), payload.sourceRoot ?? "", source);
    return original === path ? new SourceMap(payload) : undefined;
  } catch {
    return undefined; // a map that cannot be read costs the lines of stack traces, nothing else
  }
}
