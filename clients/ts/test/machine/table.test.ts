/**
 * Runs `conformance/client-state-machine.yaml` against the machine. The file says what its words
 * mean; `words.ts` reads and writes them.
 */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import {
  HANDSHAKE_MS,
  HEARTBEAT_MS,
  Machine,
  POSITIONS_MAX,
  STEADY_MS,
} from "../../src/machine/index.js";
import { UNDER_WAY_MAX } from "../../src/machine/sends.js";
import { BOUNDS, RULES, type Rules, type Timer } from "../../src/machine/step.js";
import { RENEW_MS_MIN } from "../../src/machine/token.js";
import { read, readKept, write } from "./words.js";

interface File {
  limits: Record<string, number>;
  timers: Record<string, { of?: string; in?: string[] }>;
  inputs: Record<string, string>;
  actions: Record<string, string>;
  machines: Record<string, Table>;
}

interface Table {
  inputs: string[];
  states: Record<string, { means: string; reach: string[] }>;
  transitions: Transition[];
}

interface Transition {
  from: string | string[];
  rules?: string[];
  given?: string[];
  on: string;
  when?: string;
  to: string;
  do?: string[];
}

const path = new URL("../../../../conformance/client-state-machine.yaml", import.meta.url);
const file: File = parse(readFileSync(path, "utf8"));
const states = ({ from }: Transition): string[] => (typeof from === "string" ? [from] : from);

function chosen(rules: readonly string[]): Rules {
  const flags: Record<string, Partial<Rules>> = {
    viewed: { viewedOnly: true },
    listen: { listenOnly: true },
    history: { history: true },
  };
  for (const rule of rules) if (flags[rule] === undefined) throw new Error(`no rule ${rule}`);
  return Object.assign({}, RULES, ...rules.map((rule) => flags[rule]));
}

function sendState(machine: Machine, key: number): string {
  const pending = machine.sends.pending.get(key);
  if (pending === undefined) return "settled";
  if (pending.callId > 0) return "under_way";
  return machine.sends.lanes.get(pending.channel)?.pace.isRefused ? "refused" : "queued";
}

/** The machine, and the timers that it has running. */
class Run {
  machine: Machine;
  readonly timers = new Set<Timer>();

  constructor(rules: readonly string[] = []) {
    this.machine = new Machine(chosen(rules));
  }

  /** Takes an input and gives the actions that the table writes down. */
  handle(text: string): string[] {
    const kept = readKept(text);
    if (kept !== undefined) {
      this.machine = new Machine(this.machine.rules, kept);
      this.timers.clear();
      return [];
    }
    const input = read(text);
    if (input.type === "fired") this.timers.delete(input.timer);
    const actions = this.machine.handle(input);
    for (const action of actions) {
      if (action.type === "wait") this.timers.add(action.timer);
      if (action.type === "cancel") this.timers.delete(action.timer);
    }
    return actions.map(write).filter((text) => text !== undefined);
  }

  /** The state of one of the table's machines; of sends, that of the first. */
  state(of: string): string {
    switch (of) {
      case "connection":
        return this.machine.state;
      case "channel":
        return this.machine.channels.get("7")?.place.name ?? "unknown";
      case "token":
        return this.machine.token.place;
      case "send":
        return sendState(this.machine, 1);
      default:
        throw new Error(`no machine ${of}`);
    }
  }

  /** No timer runs in a state that isn't one of its. */
  checkTimers(told: string): void {
    for (const timer of this.timers) {
      const [name = "", key] = timer.split(".");
      const clock = file.timers[name];
      if (clock?.of === undefined) {
        expect(clock, timer).toBeDefined();
        continue;
      }
      const isSend = clock.of === "send";
      const state = isSend ? sendState(this.machine, Number(key)) : this.state(clock.of);
      expect(clock.in, `${timer} in ${state} after ${told}`).toContain(state);
    }
  }
}

/** In a state of a table, by its shortest way. */
function reach(name: string, state: string, rules: readonly string[] = []): Run {
  const run = new Run(rules);
  for (const input of file.machines[name]?.states[state]?.reach ?? []) run.handle(input);
  expect(run.state(name), `${name}: the way to ${state}`).toBe(state);
  return run;
}

/** Every word that a transition uses is explained. */
function checkWords(transition: Transition): void {
  for (const input of [...(transition.given ?? []), transition.on]) {
    expect(file.inputs).toHaveProperty([input.split(" ")[0] ?? ""]);
  }
  for (const action of transition.do ?? []) {
    const [word = "", timer = ""] = action.split(" ");
    expect(file.actions).toHaveProperty([word]);
    if (word === "wait") expect(file.timers).toHaveProperty([timer.split(".")[0] ?? ""]);
  }
}

describe.each(Object.entries(file.machines))("%s", (name, table) => {
  const transitions = table.transitions.flatMap((t) =>
    states(t).map((from) => {
      const told = `${from} on ${t.on}${t.when ? `: ${t.when}` : ""} (${t.rules ?? "no rules"})`;
      return [told, t, from] as const;
    }),
  );

  test.each(transitions)("%s", (told, transition, from) => {
    const run = reach(name, from, transition.rules);
    for (const input of transition.given ?? []) {
      run.handle(input);
      run.checkTimers(told);
    }
    expect(run.handle(transition.on)).toEqual(transition.do ?? []);
    expect(run.state(name)).toBe(transition.to);
    run.checkTimers(told);
    checkWords(transition);
  });

  test("what has no transition does nothing", () => {
    const wrong: string[] = [];
    for (const state of Object.keys(table.states)) {
      for (const input of table.inputs) {
        const plain = table.transitions.filter((t) => !t.rules?.length && !t.given?.length);
        if (plain.some((t) => states(t).includes(state) && t.on === input)) continue;
        const run = reach(name, state);
        const before = new Set(run.timers);
        const written = run.handle(input);
        const isStill = [...run.timers].every((timer) => before.has(timer));
        if (written.length > 0 || run.state(name) !== state || !isStill) {
          wrong.push(`${state} on ${input}: to ${run.state(name)}, ${written}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  test("every state has a way in", () => {
    for (const [state, { reach }] of Object.entries(table.states)) {
      const leads = (t: Transition) => t.to === state && !states(t).includes(state);
      expect(reach.length === 0 || table.transitions.some(leads), state).toBe(true);
    }
  });
});

test("there are machines, and many transitions", () => {
  const all = Object.values(file.machines).flatMap((t) => t.transitions.flatMap(states));
  expect(Object.keys(file.machines)).toEqual(["connection", "token", "channel", "send"]);
  expect(all.length).toBeGreaterThan(150);
});

test("the limits are the machine's", () => {
  expect(file.limits).toEqual({
    handshake_ms: HANDSHAKE_MS,
    heartbeat_ms: HEARTBEAT_MS,
    renew_min_ms: RENEW_MS_MIN,
    positions: POSITIONS_MAX,
    recent_min: BOUNDS.recentMin,
    recent_max: BOUNDS.recentMax,
    under_way: UNDER_WAY_MAX,
    steady_ms: STEADY_MS,
    recent_paging_max: BOUNDS.recentPagingMax,
    waiting_events: BOUNDS.waitingMax,
    waiting_bytes: BOUNDS.waitingBytesMax,
  });
});
