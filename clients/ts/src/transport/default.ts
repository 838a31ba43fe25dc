/** What a client in a browser takes if the program names no transport. */

export { webSocket as defaultTransport } from "./websocket.js";
