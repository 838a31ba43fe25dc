/** What a client in Node takes if the program names no transport. */

export { grpc as defaultTransport } from "../grpc.js";
