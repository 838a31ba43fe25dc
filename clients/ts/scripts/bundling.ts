/** How a page's bundler takes the package: by Vite, minified. */

import { build, type Rolldown } from "vite";

/** The chunks of a module with its exports, written to `outDir` if that is named. */
export async function bundle(entry: string, name: string, outDir?: string) {
  const output = await build({
    root: new URL("..", import.meta.url).pathname,
    configFile: false,
    logLevel: "error",
    build: {
      target: "es2022",
      sourcemap: outDir !== undefined,
      ...(outDir === undefined ? { write: false } : { outDir, emptyOutDir: true }),
      copyPublicDir: false,
      rolldownOptions: {
        input: { [name]: entry },
        preserveEntrySignatures: "strict",
        output: { entryFileNames: "[name].js", format: "es" },
      },
    },
  });
  const { output: made } = output as Rolldown.RolldownOutput;
  return made.filter((part) => part.type === "chunk");
}
