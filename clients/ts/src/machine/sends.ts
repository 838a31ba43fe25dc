/**
 * Sends, from the program's call to their final answer. Those to one channel go in the order of the
 * program's calls: behind one that is refused for now the channel's others wait.
 */

import { type ChirmError, statusError } from "../error.js";
import type { Result } from "../gen/chirm/v1/gateway_pb.js";
import { addSorted, removeSorted } from "../sorted.js";
import type { Machine } from "./index.js";
import { isOfStream, Pace } from "./pace.js";
import type { Answer, Timer } from "./step.js";
import { renew } from "./token.js";

/** How long an answer may take before the send is repeated. */
const ANSWER_MS = 10_000;
/**
 * Sends under way at once; the others wait their turn. So few that a server which takes no more for
 * now has few to refuse: those count, too.
 */
export const UNDER_WAY_MAX = 16;
/** Calls are numbered by 32 bits. */
const CALL_ID_MAX = 2 ** 32 - 1;

interface Pending {
  readonly channel: string;
  attempt: number;
  /** The latest call; 0 while it is queued. */
  callId: number;
}

/** A channel's sends. */
class Lane {
  readonly queue: number[] = [];
  underWay = 0;
  readonly pace = new Pace();
  /** Its place among the turns. */
  turn: number | undefined;
}

const byKey = (a: number, b: number): number => a - b;

/** Sends that have no final answer. Their keys rise in the order of the program's calls. */
export class Sends {
  readonly pending = new Map<number, Pending>();
  /** Of the channels that have some, or wait. */
  readonly lanes = new Map<string, Lane>();
  /** The first queued send of each channel whose turn it may be, ascending. */
  readonly turns: number[] = [];
  readonly calls = new Map<number, number>();
  lastCall = 0;
  /** The stream's: how many frames a minute a server takes. */
  pace = new Pace();

  lane(channel: string): Lane {
    let lane = this.lanes.get(channel);
    if (lane === undefined) {
      lane = new Lane();
      this.lanes.set(channel, lane);
    }
    return lane;
  }

  /** Gives a channel its turn, or takes it. */
  turn(channel: string, oneAtATime: boolean): void {
    const lane = this.lanes.get(channel);
    if (lane === undefined) return;
    if (lane.turn !== undefined) removeSorted(this.turns, lane.turn, byKey);
    lane.turn = undefined;
    const [first] = lane.queue;
    const mayGo = lane.pace.maySend(lane.underWay) && !(oneAtATime && lane.underWay > 0);
    if (first !== undefined && mayGo) {
      lane.turn = first;
      addSorted(this.turns, first, byKey);
    }
    if (lane.queue.length === 0 && lane.underWay === 0 && !lane.pace.waits) {
      this.lanes.delete(channel);
    }
  }

  /** A send isn't under way any more. */
  endCall(key: number): void {
    const pending = this.pending.get(key);
    if (pending === undefined || pending.callId === 0) return;
    this.calls.delete(pending.callId);
    pending.callId = 0;
    const lane = this.lanes.get(pending.channel);
    if (lane !== undefined) lane.underWay -= 1;
  }
}

/** A send of the program's. */
export function send(m: Machine, key: number, channel: string, stored: boolean): void {
  m.sends.pending.set(key, { channel, attempt: stored ? 1 : 0, callId: 0 });
  addSorted(m.sends.lane(channel).queue, key, byKey);
  giveTurn(m, channel);
  flushSends(m);
}

/** By unary calls, order is kept by waiting for each answer. */
function giveTurn(m: Machine, channel: string): void {
  m.sends.turn(channel, m.rules.listenOnly);
}

/** Sends what waits, oldest first. */
export function flushSends(m: Machine): void {
  const { sends } = m;
  while (m.state === "live" && sends.calls.size < UNDER_WAY_MAX) {
    const [key] = sends.turns;
    if (key === undefined || !sends.pace.maySend(sends.calls.size)) return;
    transmit(m, key);
  }
}

function transmit(m: Machine, key: number): void {
  const { sends } = m;
  const pending = sends.pending.get(key);
  if (pending === undefined) return;
  const { channel, attempt } = pending;
  sends.lastCall = sends.lastCall < CALL_ID_MAX ? sends.lastCall + 1 : 1;
  const callId = sends.lastCall;
  pending.callId = callId;
  pending.attempt += 1;
  if (attempt > 0) m.stats.resent += 1;
  sends.calls.set(callId, key);
  const streamWait = sends.pace.sent();
  const lane = sends.lane(channel);
  removeSorted(lane.queue, key, byKey);
  lane.underWay += 1;
  const laneWait = lane.pace.sent();
  giveTurn(m, channel);
  m.act({ type: "transmit", key, callId, attempt });
  m.wait(`answer.${key}`, { ms: ANSWER_MS });
  if (streamWait !== undefined) m.wait("pace", streamWait);
  if (laneWait !== undefined) m.wait(`resend.${channel}`, laneWait);
}

/** The answer took too long: it goes out again, before the channel's later ones. */
export function retrySend(m: Machine, key: number): void {
  const channel = putBack(m, key);
  if (channel === undefined) return;
  giveTurn(m, channel);
  flushSends(m);
}

/** Queues a send that was under way. Answers its channel. */
function putBack(m: Machine, key: number): string | undefined {
  m.sends.endCall(key);
  const channel = m.sends.pending.get(key)?.channel;
  if (channel !== undefined) addSorted(m.sends.lane(channel).queue, key, byKey);
  return channel;
}

/** A channel has waited for so long as it had to. */
export function resumeChannel(m: Machine, channel: string): void {
  const lane = m.sends.lanes.get(channel);
  if (lane === undefined) return;
  lane.pace.goOn();
  giveTurn(m, channel);
  flushSends(m);
}

/** The stream has. */
export function resumeStream(m: Machine): void {
  m.sends.pace.goOn();
  flushSends(m);
}

/** The stream's answer to a call. */
export function result(m: Machine, { callId, result }: Result): void {
  const key = m.sends.calls.get(callId);
  if (key === undefined) return;
  if (result.case === "sendMessage" && result.value.message !== undefined) {
    answer(m, key, { message: result.value.message });
  } else if (result.case === "error") {
    const { code, message, details } = result.value;
    const told = details.map(({ typeUrl, value }) => ({ type: typeUrl, value }));
    answer(m, key, { error: statusError(code, message, told) });
  } else {
    answer(m, key, { error: statusError(2, "an answer to something else", []) });
  }
}

/** An answer to a send, however it came. */
export function answer(m: Machine, key: number, answer: Answer): void {
  const pending = m.sends.pending.get(key);
  if (pending === undefined) return;
  const isUnderWay = pending.callId > 0;
  if ("message" in answer || !answer.error.isRetryable) {
    settle(m, key, answer);
  } else if (answer.error.advice === "reauthenticate" && !renew(m)) {
    m.lost(answer.error);
  } else if (isUnderWay) {
    // The answer to an attempt that was given up says nothing about the present one.
    refusedSend(m, key, answer.error);
  }
  flushSends(m);
}

function refusedSend(m: Machine, key: number, error: ChirmError): void {
  const channel = putBack(m, key);
  if (channel === undefined) return;
  m.cancel(`answer.${key}`);
  const ofStream = isOfStream(error);
  const timer: Timer = ofStream ? "pace" : `resend.${channel}`;
  const delay = (ofStream ? m.sends.pace : m.sends.lane(channel).pace).refused(error);
  giveTurn(m, channel);
  m.wait(timer, delay);
}

function settle(m: Machine, key: number, answer: Answer): void {
  const { sends } = m;
  sends.endCall(key);
  const channel = sends.pending.get(key)?.channel;
  if (channel === undefined) return;
  sends.pending.delete(key);
  const lane = sends.lanes.get(channel);
  if (lane !== undefined) {
    removeSorted(lane.queue, key, byKey);
    lane.pace.taken();
  }
  sends.pace.taken();
  giveTurn(m, channel);
  m.cancel(`answer.${key}`);
  m.act({ type: "settle", key, answer });
}

/**
 * The connection is gone: whatever has no answer goes out again by the next one, in order. Channels
 * go on waiting: their limits are the user's, not the stream's.
 */
export function interruptSends(m: Machine): void {
  const { sends } = m;
  const channels = new Set<string>();
  for (const key of [...sends.calls.values()]) {
    m.cancel(`answer.${key}`);
    const channel = putBack(m, key);
    if (channel !== undefined) channels.add(channel);
  }
  for (const channel of channels) giveTurn(m, channel);
  if (sends.pace.waits) m.cancel("pace");
  sends.pace = new Pace();
}
