/**
 * What goes beside the stream, for as long as the connection lasts: pages, and sends by unary
 * calls.
 */

import { ChirmError, connectionError } from "../error.js";
import { MessageService, type SendMessageRequest } from "../gen/chirm/v1/message_pb.js";
import type { Input } from "../machine/step.js";
import type { Credentials } from "../tokens.js";
import type { Transport } from "../transport/index.js";

/** Messages a page. */
const PAGE = 100;
/** Pages read at once, of all channels, and not dealt with. */
const PAGES_AT_ONCE = 8;

/** Which page to read. */
export interface PageRequest {
  readonly channel: string;
  readonly after: string;
  readonly run: number;
  /** How long to wait first, in milliseconds. */
  readonly delayMs: number;
}

/** The calls of one connection. */
export class Calls {
  readonly #transport: Transport;
  readonly #credentials: Credentials;
  readonly #handle: (input: Input) => void;
  /** Waits until the program has room for what a page brings. */
  readonly #room: () => Promise<void>;
  readonly #controller = new AbortController();
  #lastSend = Promise.resolve();
  #pages = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(
    transport: Transport,
    credentials: Credentials,
    handle: (input: Input) => void,
    room: () => Promise<void>,
  ) {
    this.#transport = transport;
    this.#credentials = credentials;
    this.#handle = handle;
    this.#room = room;
  }

  /** The connection is gone, and with it whatever these calls would bring. */
  abort(): void {
    this.#controller.abort();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async page({ channel, after, run, delayMs }: PageRequest): Promise<void> {
    if (delayMs > 0) await sleep(delayMs, this.#controller.signal);
    while (this.#pages >= PAGES_AT_ONCE && !this.#controller.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    if (this.#controller.signal.aborted) return;
    this.#pages += 1;
    const request = {
      channelId: channel,
      limit: PAGE,
      anchor: { case: "after", value: after },
    } as const;
    const input = await this.#call(
      async (token, signal): Promise<Input> => {
        const method = MessageService.method.listMessages;
        const page = await this.#transport.call(method, request, token, { signal });
        return { type: "page", channel, run, page };
      },
      (error) => ({ type: "page_failed", channel, run, error }),
    );
    await this.#room();
    // A page keeps its place until it has been dealt with.
    this.#give(input);
    this.#pages -= 1;
    this.#waiting.shift()?.();
  }

  async send(key: number, request: SendMessageRequest): Promise<void> {
    const input = await this.#call(
      async (token, signal): Promise<Input> => {
        const method = MessageService.method.sendMessage;
        const { message } = await this.#transport.call(method, request, token, { signal });
        if (message === undefined) throw connectionError("the answer has no message");
        return { type: "answer", key, answer: { message } };
      },
      (error) => ({ type: "answer", key, answer: { error } }),
    );
    this.#give(input);
  }

  /** The same, after those that were sent so before: in order, though several may be under way. */
  sendInTurn(key: number, request: SendMessageRequest): Promise<void> {
    this.#lastSend = this.#lastSend.then(() => this.send(key, request));
    return this.#lastSend;
  }

  async #call(
    call: (token: string, signal: AbortSignal) => Promise<Input>,
    failed: (error: ChirmError) => Input,
  ): Promise<Input> {
    const { run, token } = this.#credentials;
    try {
      return await call(token, this.#controller.signal);
    } catch (error) {
      const told = error instanceof ChirmError ? error : connectionError(String(error));
      // There may be another token by now.
      const isOld = told.advice === "reauthenticate" && run !== this.#credentials.run;
      return failed(isOld ? told.withAdvice("retry") : told);
    }
  }

  #give(input: Input): void {
    if (!this.#controller.signal.aborted) this.#handle(input);
  }
}

/** Waits, but not longer than the connection lasts. */
function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
