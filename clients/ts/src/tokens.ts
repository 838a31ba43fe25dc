/** Tokens that end, and what renews them. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { connectionError } from "./error.js";
import { AuthService, type Tokens, TokensSchema } from "./gen/chirm/v1/auth_pb.js";
import { checkToken, type Transport } from "./transport/index.js";

/** What signing in gave, or as much of it as the program kept: `accessToken` at least. */
export type TokensInit = MessageInitShape<typeof TokensSchema>;

/**
 * Gives new tokens in place of an access token that ends soon or was refused: for programs that
 * share their session with others, or get tokens in a way of their own; whoever shares the session
 * may have renewed it already. What must be kept of them is kept before it answers. A {@link
 * ChirmError} that advises to retry is tried again; after any other, the client uses the token that
 * it has as long as it is taken, and then waits for {@link Client.setTokens}. With a refresh token
 * alone a client renews by itself.
 */
export type TokenSource = (accessToken: string) => Promise<TokensInit>;

/**
 * A refresh's answer may be lost: the server takes the same refresh token once more for 10 s, so
 * the second try must come before.
 */
const ANSWER_MS = 4000;

/** The tokens of a client. */
export class Credentials {
  #tokens: Tokens;
  readonly #source: TokenSource | undefined;
  /** Counts tokens: what comes of an earlier one says nothing about the present one. */
  run = 0;

  constructor(tokens: TokensInit, source: TokenSource | undefined) {
    this.#tokens = checked(tokens);
    this.#source = source;
  }

  /** What goes with calls. */
  get token(): string {
    return this.#tokens.accessToken;
  }

  /** Whether there is something that renews it. */
  get renews(): boolean {
    return this.#source !== undefined || this.#tokens.refreshToken !== "";
  }

  /** For how long the token is still good by this machine's clock, if that is known. */
  get lifetimeMs(): number | undefined {
    const end = this.#tokens.accessExpiresAt;
    return end === undefined ? undefined : Math.max(0, timestampMs(end) - Date.now());
  }

  /** Uses other tokens from now on. */
  use(tokens: TokensInit): void {
    this.#tokens = checked(tokens);
    this.run += 1;
  }

  /** New tokens in place of these, which are then spent. */
  async renew(transport: Transport): Promise<Tokens> {
    if (this.#source !== undefined) return checked(await this.#source(this.token));
    const { refreshToken } = this.#tokens;
    const options = { timeoutMs: ANSWER_MS };
    const { tokens } = await transport.call(
      AuthService.method.refresh,
      { refreshToken },
      "",
      options,
    );
    if (tokens === undefined) throw connectionError("a refresh was answered without tokens");
    return tokens;
  }
}

function checked(tokens: TokensInit): Tokens {
  const whole = create(TokensSchema, tokens);
  checkToken(whole.accessToken);
  return whole;
}
