/**
 * The protocol `chirm.v1`: every message, its schema, every service. Ids, positions and other
 * 64-bit numbers are strings of decimal digits, as JavaScript's numbers end at 53 bits.
 *
 * @packageDocumentation
 */
export * from "./gen/chirm/v1/admin_pb.js";
export * from "./gen/chirm/v1/auth_pb.js";
export * from "./gen/chirm/v1/channel_pb.js";
export * from "./gen/chirm/v1/common_pb.js";
export * from "./gen/chirm/v1/gateway_pb.js";
export * from "./gen/chirm/v1/message_pb.js";
export * from "./gen/chirm/v1/moderation_pb.js";
export * from "./gen/chirm/v1/presence_pb.js";
export * from "./gen/chirm/v1/read_state_pb.js";
export * from "./gen/chirm/v1/server_pb.js";
export * from "./gen/chirm/v1/user_pb.js";
export * from "./gen/chirm/v1/webhook_pb.js";
