import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    // The package's own `imports` name what is built; tests run what is written.
    alias: { "#transport": new URL("./src/transport/default.node.ts", import.meta.url).pathname },
  },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000 },
});
