import { parse } from "acorn";
import { transformSync } from "esbuild";
import fc from "fast-check";
import { Codec } from "../codec.js";
import { createModuleHost } from "../module-host.js";
import { layOut } from "./layout.js";

const corpus = [
  "function f(a,b){if(a)return b;else throw new Error(`x${a}y`);for(;;){a++;b--;if(a>b)break}return a+ +b}",
  "async x=>{const y=await x;return async function(){await y}}",
  "async(x,...y)=>(await Promise.all(y)).map(z=>z+x)",
  "function*g(){yield 1;yield*h();label:for(const x of[1,2]){continue label}}",
  "class A extends B{#x=1;static y=2;static{this.z=3}get x(){return this.#x}set x(v){this.#x=v}async*m(){}static async n(){return`a${1}b${`c${2}`}`}}",
  "{async method(a){return/re[/]x/g.test(a)?{b:1}:[a??2,a?.b?.[1]]}}",
  'function s(){switch(1){case 1:do{var i=0}while(i++<2);default:try{void 0}catch{debugger}finally{typeof i}}return\n"x"}',
];

/** The tree without places. */
function shape(expression: string): string {
  return JSON.stringify(parse(`(${expression}\n)`, { ecmaVersion: "latest", sourceType: "module" }), (key, value: unknown) =>
    key === "start" || key === "end" ? undefined : value,
  );
}

describe("layOut", () => {
  it("never changes what the code means, wherever its tokens are wanted", () => {
    fc.assert(
      fc.property(fc.constantFrom(...corpus), fc.infiniteStream(fc.tuple(fc.nat(3), fc.nat(40), fc.boolean())), (source, places) => {
        let line = 0;
        const wanted = new Map<number, { line: number; column: number } | undefined>();
        const laidOut = layOut(source, (offset) => {
          if (!wanted.has(offset)) {
            const [lines, column, isKnown] = places.next().value as [number, number, boolean];
            line += lines;
            wanted.set(offset, isKnown ? { line, column } : undefined);
          }
          return wanted.get(offset);
        });
        if (laidOut !== undefined) expect(shape(laidOut.text)).toBe(shape(source));
      }),
      { numRuns: 300 },
    );
  });

  it("puts tokens where they are wanted", () => {
    const source = "function f(a){g(a);h(a)}";
    const at = new Map([
      [0, { line: 4, column: 2 }],
      [source.indexOf("g("), { line: 6, column: 4 }],
      [source.indexOf("h("), { line: 9, column: 8 }],
    ]);
    expect(layOut(source, (offset) => at.get(offset))).toEqual({ line: 4, column: 2, text: "function f(a){\n\n    g(a);\n\n\n        h(a)}" });
  });
});

describe("stack traces of shipped code", () => {
  const typed = `import { x } from "x";

interface Reading {
  readonly value: number;
}

export function train(r: Reading): number {
  // a comment
  const doubled: number = r.value * 2;

  if (doubled > 1)
    throw new RangeError(\`too much: \${doubled}\`);
  return doubled;
}

export class Model {
  private readonly rate: number = 1;

  async fit(): Promise<never> {
    await Promise.resolve(this.rate);
    return helper();
  }
}

const helper = (): never => {
  throw new Error("helpless");
};
`;
  const lineOf = (text: string): string => {
    const before = typed.slice(0, typed.indexOf(text)).split("\n");
    return `${before.length}:${(before.at(-1) as string).length + 1}`;
  };

  /** As tsx does: one line, the map inside. */
  function load(file: string): { train: (r: object) => number; Model: new () => { fit(): Promise<never> } } {
    const { code } = transformSync(typed.replace(/^import.*/, ""), {
      loader: "ts",
      format: "cjs",
      minifyWhitespace: true,
      sourcemap: "inline",
      sourcefile: file,
      keepNames: true,
      banner: "(function(module,exports){",
      footer: "})",
    });
    const module = { exports: {} };
    // oxlint-disable-next-line no-eval -- in this realm, under the file's name, with its map: what a loader does
    ((0, eval)(`${code}\n//# sourceURL=${file}`) as (m: object, e: object) => void)(module, module.exports);
    return module.exports as never;
  }
  const workingDir = "/nowhere";
  const driver = new Codec({ modules: createModuleHost({ workingDir, mainModule: "/nowhere/job.ts" }) });
  const worker = (): Codec => new Codec({ modules: createModuleHost({ workingDir }) });
  const { train, Model } = load("/nowhere/job.ts");

  it("name the line and column of the TypeScript file, though it ran compiled", () => {
    const revived = worker().deserializeFunction(driver.serializeFunction(train).blob) as typeof train;
    expect(revived({ value: 0 })).toBe(0);
    expect(() => revived({ value: 7 })).toThrow("too much: 14");
    try {
      revived({ value: 7 });
    } catch (error) {
      expect((error as Error).stack).toContain(`at train (/nowhere/job.ts:${lineOf("new RangeError")})`);
    }
  });

  it("do so when a worker passes the code on, and in classes and what they capture", async () => {
    const first = worker();
    const once = first.deserializeFunction(driver.serializeFunction(Model).blob);
    const revived = worker().deserializeFunction(first.serializeFunction(once).blob) as typeof Model;
    const error = await new revived().fit().catch((e: unknown) => e as Error);
    expect((error as Error).stack).toContain(`at helper (/nowhere/job.ts:${lineOf('new Error("helpless")')})`);
    expect((error as Error).stack).toContain(`.fit (/nowhere/job.ts:${lineOf("helper()")})`);
  });
});
