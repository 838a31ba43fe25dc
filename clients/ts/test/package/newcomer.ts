/** A project of somebody who installs the package as it is packed. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Not an assertion: it keeps a failing test from hanging. */
const PATIENCE_MS = 30_000;

export class Newcomer {
  readonly folder = mkdtempSync(join(tmpdir(), "chirm-newcomer-"));

  constructor() {
    if (!existsSync(join(ROOT, "dist/bundle/chirm.js"))) {
      throw new Error("dist isn't there: npm run build");
    }
    const quiet = { encoding: "utf8", cwd: this.folder, stdio: "pipe" } as const;
    execFileSync("npm", ["pack", "--silent", "--pack-destination", this.folder, ROOT], quiet);
    const [tarball = ""] = readdirSync(this.folder);
    this.write("package.json", JSON.stringify({ name: "newcomer", type: "module" }));
    const flags = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
    execFileSync("npm", ["install", ...flags, `./${tarball}`], quiet);
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  copy(from: string, name: string): void {
    copyFileSync(from, join(this.folder, name));
  }

  /** Runs a program until it has printed these lines, or ends. Answers all that it printed. */
  async run(
    program: string[],
    env: Record<string, string> = {},
    wanted: readonly string[] = [],
  ): Promise<string[]> {
    const child = spawn(process.execPath, program, {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
    const printed: string[] = [];
    for await (const line of createInterface(child.stdout)) {
      printed.push(line);
      if (wanted.length > 0 && wanted.every((line) => printed.includes(line))) child.kill();
    }
    await exited;
    clearTimeout(timer);
    return printed;
  }

  /** Starts a program that goes on until it is stopped. */
  start(program: string[], env: Record<string, string>): { stop(): Promise<void> } {
    const child = spawn(process.execPath, program, {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit"],
    });
    const exited = once(child, "exit");
    return {
      stop: async () => {
        child.kill("SIGTERM");
        await exited;
      },
    };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
