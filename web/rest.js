/** REST calls: everything but the live stream. */

/** Why a call, a request of the stream or the stream itself was refused: see docs/errors.md. */
export class Refused extends Error {
  /** @param {{message?: string, details?: object[]}} status as `google.rpc.Status` in JSON */
  constructor({ message = "", details = [] }) {
    super(message);
    const detail = (name) => details.find((d) => d["@type"]?.endsWith(`.${name}`)) ?? {};
    this.reason = detail("ErrorInfo").reason ?? "";
    /** How long to wait before the same again, if waiting helps. */
    this.retryAfterMs = milliseconds(detail("RetryInfo").retryDelay);
  }

  /** Whether the same may succeed later. */
  get isTransient() {
    const later = ["OVERLOADED", "STORE_UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNREACHED"];
    return this.retryAfterMs !== undefined || later.includes(this.reason);
  }
}

/** A duration of proto3 JSON (`"1.5s"`) in milliseconds; undefined if there is none. */
export function milliseconds(duration) {
  return duration === undefined ? undefined : Number.parseFloat(duration) * 1000;
}

const CALL_MS = 15_000;

/** Calls to one server, with the tokens of who is signed in. */
export class Rest {
  /**
   * @param {string} base the server's URL
   * @param {(direction: string, name: string, content: object) => void} tap hears what passes
   */
  constructor(base, tap) {
    this.base = base;
    this.tap = tap;
    this.tokens = undefined;
    this.renewing = undefined;
    /** Called with new tokens, to be kept. */
    this.onTokens = () => {};
  }

  /** Makes a call with the access token, which is renewed if it has ended. */
  async call(verb, path, body) {
    try {
      return await this.once(verb, path, body, this.tokens?.accessToken);
    } catch (error) {
      const isStale = ["TOKEN_EXPIRED", "TOKEN_INVALID"].includes(error.reason);
      if (!isStale || this.tokens === undefined) throw error;
      await this.renew();
      return this.once(verb, path, body, this.tokens.accessToken);
    }
  }

  /** Changes the refresh token for new tokens: one change for all who ask at once. */
  renew() {
    this.renewing ??= (async () => {
      try {
        const { refreshToken } = this.tokens;
        this.use((await this.once("POST", "/v1/auth/refresh", { refreshToken })).tokens);
      } finally {
        this.renewing = undefined;
      }
    })();
    return this.renewing;
  }

  use(tokens) {
    this.tokens = tokens;
    this.onTokens(tokens);
  }

  async once(verb, path, body, token) {
    const headers = {};
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    this.tap("out", `${verb} ${path}`, body ?? {});
    let response;
    let answer;
    try {
      response = await fetch(this.base + path, {
        method: verb,
        headers,
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(CALL_MS),
      });
      answer = await response.json();
    } catch (cause) {
      const refused = new Refused({ message: "The server can't be reached." });
      refused.reason = "UNREACHED";
      refused.cause = cause;
      this.tap("in", `${verb} ${path}`, { error: String(cause) });
      throw refused;
    }
    this.tap("in", `${response.status} ${path}`, answer);
    if (!response.ok) throw new Refused(answer.error ?? { message: response.statusText });
    return answer;
  }
}
