// A back end with a service key: makes a channel for a match, lets its players in, writes there as
// a system user.
//   chirm key create --data ./chirm-data --name game
//   CHIRM_KEY=… node back-end.js PLAYER …
import { Api, ChirmError, newNonce } from "@chirm/client";

const url = process.env.CHIRM_URL ?? "http://127.0.0.1:7300";
const players = process.argv.slice(2);
const api = new Api({ url, token: process.env.CHIRM_KEY });

const { server, generalChannelId: channelId } = await api.servers.createServer({
  name: "Match 1",
  // A repeat of this call would answer with the same server.
  requestId: newNonce(),
});
await api.servers.batchAddMembers({
  serverId: server.id,
  members: players.map((player) => ({ subject: { case: "externalId", value: player } })),
});
for (const player of players) {
  // What the player's own client connects with; hand it over by your own, authenticated, way.
  const subject = { case: "externalId", value: player };
  const { user, tokens } = await api.auth.mintSession({ subject, device: "game" });
  console.log(`${player} is user ${user.id}; its token ends at ${tokens.accessExpiresAt.seconds}`);
}
try {
  const content = "Round one";
  const { message } = await api.messages.sendMessage({ channelId, content, nonce: newNonce() });
  console.log(`sent ${message.id} to channel ${channelId}`);
} catch (error) {
  if (!(error instanceof ChirmError)) throw error;
  console.error(`${error.code} ${error.reason}: ${error.message}`);
}
api.close();
