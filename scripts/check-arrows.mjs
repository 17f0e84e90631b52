#!/usr/bin/env node
// Rules that a type checker does not know: who may import whom, where time and chance come from, and that no file is left over.
//
//   arrows    an import between packages is declared in package.json and in tsconfig's references, does not go up, and names the package, not a file in it;
//             daemons do not import one another; imports of other packages are declared
//   ambient   Date.now, setTimeout, Math.random, process.env … only where arrows.table.mjs says
//   orphans   every source file is imported by another one
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import * as standardTable from "./arrows.table.mjs";

/** @returns one line for each breach, "file:line: what", sorted. */
export function checkArrows(root, table = standardTable) {
  const packages = readPackages(root);
  const sources = packages.flatMap((p) => filesUnder(join(root, p.dir, "src")).map((file) => readSource(root, file, p)));
  const roots = existsSync(join(root, "bin")) ? readdirSync(join(root, "bin")).filter((f) => f.endsWith(".ts")) : [];
  const rootSources = roots.map((file) => readSource(root, join(root, "bin", file), undefined));
  const rootManifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const developmentOnly = new Set(Object.keys(rootManifest.devDependencies ?? {}));
  const breaches = [
    ...packages.filter((p) => layerOf(table, p) < 0).map((p) => `${p.dir}/package.json:1: the package is in no layer of scripts/arrows.table.mjs`),
    ...sources.flatMap((source) => arrowBreaches(source, packages, table, developmentOnly)),
    ...rootSources.flatMap((source) => arrowBreaches(source, packages, table, developmentOnly)),
    ...ambientBreaches(sources, table),
    ...orphans(root, sources, rootSources, table),
  ];
  return breaches.sort();
}

function readPackages(root) {
  const dirs = readdirSync(join(root, "packages")).filter((name) => existsSync(join(root, "packages", name, "package.json")));
  return dirs.map((dirName) => {
    const dir = `packages/${dirName}`;
    const manifest = JSON.parse(readFileSync(join(root, dir, "package.json"), "utf8"));
    const tsconfig = JSON.parse(readFileSync(join(root, dir, "tsconfig.json"), "utf8"));
    return {
      dir,
      dirName,
      name: manifest.name,
      dependencies: new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies })),
      references: new Set((tsconfig.references ?? []).map((r) => relative(root, join(root, dir, r.path)))),
    };
  });
}

function readSource(root, file, owner) {
  const text = readFileSync(file, "utf8");
  const masked = mask(text);
  return { file: relative(root, file), owner, test: /\.test\.tsx?$/.test(file), masked, imports: importsOf(text, masked) };
}

function filesUnder(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return entry.name === "generated" || entry.name === "fixtures" ? [] : filesUnder(join(dir, entry.name));
    return /\.tsx?$/.test(entry.name) ? [join(dir, entry.name)] : [];
  });
}

const layerOf = (table, p) => table.layers.findIndex((layer) => layer.includes(p.dirName));

function arrowBreaches(source, packages, table, developmentOnly) {
  const breaches = [];
  for (const { specifier, line } of source.imports) {
    if (specifier.startsWith(".") || specifier.startsWith("node:") || builtinModules.includes(specifier)) continue;
    const at = `${source.file}:${line}: `;
    const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
    const target = packages.find((p) => p.name === name);
    if (target === undefined) {
      if (name.startsWith("@tray/")) breaches.push(`${at}there is no package ${name}`);
      else if (source.owner !== undefined && !source.owner.dependencies.has(name) && !(source.test && developmentOnly.has(name)))
        breaches.push(`${at}${name} is not declared in ${source.owner.dir}/package.json`);
      continue;
    }
    if (specifier !== name && target.name.startsWith("@tray/")) breaches.push(`${at}imports a file inside ${name}; packages are imported by name`);
    // Composition roots may import every package; a test may compare with packages that its own does not depend on, but not look up.
    const owner = source.owner;
    if (owner === undefined || target === owner) continue;
    if (layerOf(table, target) > layerOf(table, owner)) breaches.push(`${at}${owner.name} imports ${name}, which is above it`);
    if (table.daemons.includes(owner.dirName) && table.daemons.includes(target.dirName)) breaches.push(`${at}a daemon imports a daemon, ${name}`);
    if (source.test) continue;
    if (!owner.dependencies.has(name)) breaches.push(`${at}${name} is not declared in ${owner.dir}/package.json`);
    if (!owner.references.has(target.dir)) breaches.push(`${at}${name} is not among the references of ${owner.dir}/tsconfig.json`);
  }
  return breaches;
}

function ambientBreaches(sources, table) {
  const breaches = [];
  const used = new Set();
  for (const source of sources.filter((s) => !s.test)) {
    const home = table.allowed.find((a) => a.file === source.file);
    source.masked.split("\n").forEach((text, index) => {
      for (const [call, pattern] of Object.entries(table.ambientCalls)) {
        if (!pattern.test(text)) continue;
        if (home?.calls.includes(call)) used.add(`${source.file} ${call}`);
        else
          breaches.push(
            `${source.file}:${index + 1}: ${call} is ambient; take a Clock, a Random or an option (or, with a reason, add the file to scripts/arrows.table.mjs)`,
          );
      }
    });
  }
  for (const { file, calls } of table.allowed) {
    for (const call of calls)
      if (!used.has(`${file} ${call}`)) breaches.push(`scripts/arrows.table.mjs:1: ${file} no longer uses ${call}; remove it from the list`);
  }
  return breaches;
}

function orphans(root, sources, rootSources, table) {
  const imported = new Set();
  for (const source of [...sources.filter((s) => !s.test), ...rootSources]) {
    for (const { specifier } of source.imports) {
      if (specifier.startsWith(".")) imported.add(relative(root, join(root, dirname(source.file), specifier)).replace(/\.js$/, ".ts"));
    }
  }
  const known = new Set(table.entries.map((e) => e.file));
  return sources
    .filter((s) => !s.test && s.owner !== undefined && s.file !== `${s.owner.dir}/src/index.ts` && !s.file.endsWith(".d.ts"))
    .filter((s) => !imported.has(s.file) && !imported.has(s.file.replace(/\.tsx$/, ".ts")) && !known.has(s.file))
    .map((s) => `${s.file}:1: no source file imports this one`);
}

/** Specifiers of import and export declarations, import() and require() with a literal. */
function importsOf(text, masked) {
  const found = [];
  const keyword = /(?:\bfrom|\bimport|\bimport\s*\(|\brequire\s*\()\s*(["'])/g;
  for (let match = keyword.exec(masked); match !== null; match = keyword.exec(masked)) {
    const start = match.index + match[0].length;
    const end = masked.indexOf(match[1], start);
    found.push({ specifier: text.slice(start, end), line: masked.slice(0, match.index).split("\n").length });
  }
  return found;
}

/** The source with the contents of comments, strings, templates and regular expressions blanked; offsets, lines and quotes stay. */
export function mask(source) {
  const out = source.split("");
  const blank = (from, to) => {
    for (let i = from; i < to && i < out.length; i++) if (out[i] !== "\n") out[i] = " ";
  };
  const templates = []; // for each open `${`: how many braces are open inside it
  let i = 0;
  const skipQuoted = (quote) => {
    const start = ++i;
    while (i < source.length && source[i] !== quote && !(source[i] === "\n" && quote !== "`")) {
      if (quote === "`" && source[i] === "$" && source[i + 1] === "{") {
        blank(start, i);
        templates.push(0);
        i += 2;
        return;
      }
      i += source[i] === "\\" ? 2 : 1;
    }
    blank(start, i);
    i++;
  };
  while (i < source.length) {
    const c = source[i];
    const two = source.slice(i, i + 2);
    if (two === "//" || two === "/*") {
      const end = two === "//" ? source.indexOf("\n", i) : source.indexOf("*/", i + 2) + 2;
      const stop = end <= 1 ? source.length : end;
      blank(i, stop);
      i = stop;
    } else if (c === '"' || c === "'") skipQuoted(c);
    else if (c === "`") skipQuoted("`");
    else if (c === "{" && templates.length > 0) {
      templates[templates.length - 1]++;
      i++;
    } else if (c === "}" && templates.length > 0) {
      if (templates[templates.length - 1]-- === 0) {
        templates.pop();
        skipQuoted("`"); // the rest of the template; `i` is on its brace as it was on its quote
      } else i++;
    } else if (c === "/" && startsRegex(out, i)) {
      const start = ++i;
      for (let inClass = false; i < source.length && source[i] !== "\n" && (inClass || source[i] !== "/"); i++) {
        if (source[i] === "\\") i++;
        else if (source[i] === "[") inClass = true;
        else if (source[i] === "]") inClass = false;
      }
      blank(start, i);
      i++;
    } else i++;
  }
  return out.join("");
}

/** A slash divides after a value and opens a regular expression elsewhere. */
function startsRegex(out, at) {
  let i = at - 1;
  while (i >= 0 && /\s/.test(out[i])) i--;
  if (i < 0 || /[([{,;:=!&|?+\-*%^~<>}]/.test(out[i])) return true;
  const word = /[\w$]+$/.exec(out.slice(Math.max(0, i - 10), i + 1).join(""))?.[0];
  return word !== undefined && ["return", "typeof", "case", "in", "of", "void", "await", "throw", "else", "do"].includes(word);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const breaches = checkArrows(join(import.meta.dirname, ".."));
  for (const line of breaches) console.error(line);
  if (breaches.length > 0) console.error(`${breaches.length} breach(es) of the rules between packages`);
  process.exitCode = breaches.length > 0 ? 1 : 0;
}
