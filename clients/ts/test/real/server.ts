/** A real server of the test's own, which can be killed and started again. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const ROOT = new URL("../../../../", import.meta.url).pathname;
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
const BINARY = process.env.CHIRM_BIN ?? join(TARGET, "debug/chirm");
const READY = "chirm ready on ";

export class RealServer {
  readonly #folder = mkdtempSync(join(tmpdir(), "chirm-ts-"));
  #process: ChildProcess | undefined;
  #listen = "127.0.0.1:0";
  readonly #settings: NodeJS.ProcessEnv;
  /** Where it is reached; the same over all its lives. */
  url = "";

  private constructor(settings: NodeJS.ProcessEnv) {
    this.#settings = settings;
  }

  /** With settings other than the defaults as `CHIRM__SECTION__KEY`. */
  static async start(settings: NodeJS.ProcessEnv = {}): Promise<RealServer> {
    if (!existsSync(BINARY)) {
      throw new Error(`${BINARY} isn't there: cargo build --bin chirm, or set CHIRM_BIN`);
    }
    const server = new RealServer(settings);
    await server.run();
    return server;
  }

  /** Starts it, with the data and at the place of its life before. */
  async run(): Promise<void> {
    const data = join(this.#folder, "data");
    const listen = ["--listen", this.#listen, "--admin-listen", "127.0.0.1:0"];
    const child = spawn(BINARY, ["serve", "--dev", "--data", data, ...listen], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: this.#folder,
      env: { ...process.env, ...this.#settings },
    });
    this.#process = child;
    let log = "";
    child.stderr.on("data", (text) => {
      log = `${log}${text}`.slice(-4096);
    });
    for await (const line of createInterface(child.stdout)) {
      if (!line.startsWith(READY)) continue;
      this.url = line.slice(READY.length);
      this.#listen = new URL(this.url).host;
      child.stdout.resume();
      return;
    }
    throw new Error(`the server didn't start:\n${log}`);
  }

  /** A back end's key. */
  key(): string {
    const data = join(this.#folder, "data");
    const args = ["key", "create", "--data", data, "--name", "test", "--json"];
    return JSON.parse(execFileSync(BINARY, args, { encoding: "utf8" })).token;
  }

  /** Ends it without a warning, as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
