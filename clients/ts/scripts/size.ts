/**
 * Holds the package to its size, as a page downloads it, which also shows that nothing of Node's is
 * on a browser's path. In kB of 1,000 bytes, compressed by gzip.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { bundle } from "./bundling.js";

const TARGETS = [
  { what: "Client, by a WebSocket", code: 'export { Client } from "@chirm/client";', max: 40_000 },
  { what: "all of it", code: 'export * from "@chirm/client";', max: 50_000 },
];

const folder = mkdtempSync(new URL("../node_modules/.size-", import.meta.url).pathname);
try {
  for (const [i, { what, code, max }] of TARGETS.entries()) {
    const entry = join(folder, `${i}.js`);
    writeFileSync(entry, code);
    const chunks = await bundle(entry, "page");
    const bytes = gzipSync(chunks.map((chunk) => chunk.code).join(""), { level: 9 }).length;
    console.log(`${what}: ${(bytes / 1000).toFixed(1)} kB of ${max / 1000} kB`);
    if (bytes > max) throw new Error(`${what} is ${bytes} bytes; at most ${max} are allowed`);
    const ofNode = chunks
      .flatMap((chunk) => [...chunk.imports, ...chunk.dynamicImports])
      .filter((name) => name.startsWith("node:") || builtinModules.includes(name));
    if (ofNode.length > 0) throw new Error(`${what} takes ${ofNode} of Node's`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
