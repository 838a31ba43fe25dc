/**
 * Makes what is downloaded of the generated modules smaller.
 *
 * They carry their descriptors as base64, in which a compressor finds nothing that repeats. As text
 * of one character a byte they take a third less; `btoa`, which browsers and Node have, makes
 * base64 of it when they are loaded. And their enums are made by calls which no bundler dares to
 * leave out, until it is told that it may.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const GENERATED = new URL("../dist/gen", import.meta.url).pathname;
const DESCRIPTOR = /fileDesc\("([A-Za-z0-9+/=]+)"/g;
const ENUM = /export var (\w+);\n\(function \(\1\) \{([\s\S]*?)\n\}\)\(\1 \|\| \(\1 = \{\}\)\);/g;

/** A literal of one character a byte. */
function literal(bytes: Buffer): string {
  const escaped = Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte);
    if (character === '"' || character === "\\") return `\\${character}`;
    const isPlain = byte >= 0x20 && byte < 0x7f;
    return isPlain ? character : `\\x${byte.toString(16).padStart(2, "0")}`;
  });
  return `"${escaped.join("")}"`;
}

let [descriptors, enums] = [0, 0];
for (const name of readdirSync(GENERATED, { recursive: true, encoding: "utf8" })) {
  if (!name.endsWith("_pb.js")) continue;
  const path = join(GENERATED, name);
  const text = readFileSync(path, "utf8");
  const smaller = text
    .replace(DESCRIPTOR, (_, base64: string) => {
      descriptors += 1;
      return `fileDesc(/*@__PURE__*/ btoa(${literal(Buffer.from(base64, "base64"))})`;
    })
    .replace(ENUM, (_, name: string, body: string) => {
      enums += 1;
      const made = `((${name}) => {${body}\n    return ${name};\n})({})`;
      return `export const ${name} = /*@__PURE__*/ ${made};`;
    });
  writeFileSync(path, smaller);
}
if (descriptors === 0 || enums === 0) {
  throw new Error("no descriptors or no enums: has the generated code another form now?");
}
