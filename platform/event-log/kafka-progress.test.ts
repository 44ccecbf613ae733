import { expect, test } from "bun:test";

import { decodeProgress, encodeProgress, maxDistance, maxRuns, type Mark } from "./kafka-progress.ts";

test("what is settled and what has been tried comes back as it was", () => {
  const state: { offset: number; mark: Mark | null }[] = [
    { offset: 100, mark: { attempts: 1, waiting: false } },
    { offset: 101, mark: { attempts: 1, waiting: false } },
    { offset: 102, mark: null },
    { offset: 103, mark: { attempts: 2, waiting: true } },
    { offset: 110, mark: { attempts: 2, waiting: false } },
    { offset: 1_000, mark: null },
  ];
  const { settled, marks, upTo } = decodeProgress(100, encodeProgress(100, state));
  expect([...settled]).toEqual([102, 1_000]);
  expect([...marks]).toEqual([
    [100, { attempts: 1, waiting: false }],
    [101, { attempts: 1, waiting: false }],
    [103, { attempts: 2, waiting: true }],
    [110, { attempts: 2, waiting: false }],
  ]);
  expect(upTo).toBe(1_000);
});

test("nothing is written where the offset says it all, and nothing is read from a text of somebody else's", () => {
  expect(encodeProgress(5, [])).toBe("");
  for (const text of [null, "", "consumer-1", "2|AAAA|0-1.1", "1|!|x-y.z,0-1"]) {
    const { settled, marks } = decodeProgress(5, text);
    expect([settled.size, marks.size]).toEqual([0, 0]);
  }
});

test("the longest text is within what a broker takes", () => {
  const state: { offset: number; mark: Mark | null }[] = [];
  for (let i = 0; i < maxDistance; i++) {
    const mark = i >= maxDistance - 2 * maxRuns && i % 2 === 0 ? { attempts: (i % 20) + 5, waiting: true } : null;
    state.push({ offset: 9_000_000_000 + i, mark });
  }
  expect(encodeProgress(9_000_000_000, state).length).toBeLessThan(4_096);
});
