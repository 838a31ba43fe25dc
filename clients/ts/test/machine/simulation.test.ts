/**
 * Whatever happens on the way, the program ends with what the store holds, and had each message
 * once.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { RULES, type Rules } from "../../src/machine/step.js";
import { type Step, World } from "./world.js";

const just = (what: Step["do"]) => fc.constant({ do: what } as Step);

const create = fc.integer({ min: 1, max: 3 }).map((above): Step => ({ do: "create", above }));
const edit = fc.nat().map((which): Step => ({ do: "edit", which }));
const remove = fc.nat().map((which): Step => ({ do: "delete", which }));
const take = fc.integer({ min: 1, max: 8 }).map((count): Step => ({ do: "take", count }));
const receive = fc.integer({ min: 1, max: 4 }).map((count): Step => ({ do: "receive", count }));

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: create },
  { weight: 2, arbitrary: just("reserve") },
  { weight: 2, arbitrary: just("persist") },
  { weight: 2, arbitrary: edit },
  { weight: 2, arbitrary: remove },
  { weight: 6, arbitrary: receive },
  { weight: 4, arbitrary: take },
  { weight: 1, arbitrary: just("lose") },
  { weight: 1, arbitrary: just("repeat") },
  { weight: 6, arbitrary: just("answer") },
  { weight: 1, arbitrary: just("fail") },
  { weight: 1, arbitrary: just("cut") },
  { weight: 2, arbitrary: just("wait") },
  { weight: 1, arbitrary: just("restart") },
  { weight: 1, arbitrary: just("gap") },
);

const rerun = fc
  .record({ missed: fc.nat({ max: 11 }), restarts: fc.boolean() })
  .map((away): Step => ({ do: "rerun", ...away }));

/**
 * With programs that run again. They keep one id: what changed below it in a gap is not for them,
 * nor what was stored late.
 */
const stepOrRerun = fc.oneof(
  {
    weight: 9,
    arbitrary: step.map((step): Step => {
      const isLate = step.do === "edit" || step.do === "delete" || step.do === "reserve";
      return isLate ? { do: "create", above: 1 } : step;
    }),
  },
  { weight: 1, arbitrary: rerun },
);

function run(steps: readonly Step[], rules: Rules): World {
  const world = new World(rules, 101);
  world.settle();
  return runOn(world, steps);
}

function runOn(world: World, steps: readonly Step[]): World {
  for (const step of steps) world.step(step);
  world.settle();
  expect(world.machine.state).toBe("live");
  return world;
}

/** The program's messages from `from` on; below, it may have edits of what it never had. */
function check(world: World, from: number): void {
  const messages = [...world.program.messages].filter(([id]) => id >= from);
  expect(messages.sort(([a], [b]) => a - b)).toEqual([...world.truth(from)]);
  expect([...world.program.had].filter(([, times]) => times !== 1)).toEqual([]);
}

const steps = (step: fc.Arbitrary<Step>) => fc.array(step, { maxLength: 120 });
const RUNS = { numRuns: 500 };

test("the program has the whole history", () => {
  const whole = fc.property(steps(step), (steps) => {
    const world = run(steps, { ...RULES, history: true });
    expect(world.program.broken).toBeUndefined();
    check(world, 0);
  });
  fc.assert(whole, RUNS);
});

test("the program has all since it came", () => {
  fc.assert(
    fc.property(steps(step), (steps) => check(run(steps, RULES), 102)),
    RUNS,
  );
});

test("a program that runs again goes on", () => {
  const again = fc.property(steps(stepOrRerun), fc.boolean(), (steps, history) => {
    // From the first connection on, to a channel without a message.
    const world = runOn(new World({ ...RULES, history }), steps);
    const { program } = world;
    const began = history ? 0 : Number(program.began);
    const messages = [...program.messages].sort(([a], [b]) => a - b);
    expect(messages).toEqual([...world.truth(began + 1)]);
    // Of what a run had beyond its position, events come again in the next, but once.
    expect([...program.had].filter(([, times]) => times !== 1)).toEqual([]);
    const newest = messages.at(-1)?.[0] ?? began;
    expect(program.held?.lastId).toBe(String(newest));
    expect(world.lacked.flat()).toEqual([]);
  });
  fc.assert(again, RUNS);
});

const creates = (count: number): Step[] =>
  Array.from({ length: count }, (): Step[] => [
    { do: "create", above: 1 },
    { do: "receive", count: 1 },
  ]).flat();

test("without dedupe a gap shows messages twice", () => {
  const world = run([...creates(10), { do: "gap" }], { ...RULES, dedupeOff: true });
  expect([...world.program.had.values()].some((times) => times > 1)).toBe(true);
});

test("without the jump check a lost event stays lost", () => {
  const one: Step = { do: "create", above: 1 };
  const steps: Step[] = [...creates(3), one, one, { do: "lose" }];
  const world = run(steps, { ...RULES, jumpCheckOff: true });
  expect([...world.program.messages]).not.toEqual([...world.truth(0)]);
});
