import { expect, test } from "bun:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { formatTimeout, parseTimeout, startDeadline } from "./deadline.ts";

test.each([
  ["0n", 0],
  ["1n", 0.000_001],
  ["10u", 0.01],
  ["99999999m", 99_999_999],
  ["2S", 2_000],
  ["3M", 180_000],
  ["1H", 3_600_000],
])("grpc-timeout %p is %d ms", (header, ms) => {
  expect(parseTimeout(header)).toBeCloseTo(ms, 9);
});

test.each(["", "1", "m", "-1m", "1.5S", "1 m", "1ms", "1s", "123456789m", "1m\n", "١m", "0x1m", "1toString"])(
  "grpc-timeout %p is refused",
  (header) => {
    expect(() => parseTimeout(header)).toThrow(ConnectError);
  },
);

test.each([
  [0.0001, "1u"],
  [0.5, "500u"],
  [1, "1m"],
  [1.2, "2m"],
  [5_000, "5000m"],
  [99_999_999, "99999999m"],
  [100_000_000, "100000S"],
  [2 ** 53, "99999999H"],
])("%d ms are sent as %p", (ms, header) => {
  expect(formatTimeout(ms)).toBe(header);
});

test("a deadline further away than a timer reaches is not over at once", async () => {
  const deadline = startDeadline({ timeoutMs: 2 ** 40, caller: undefined });
  await Bun.sleep(5);
  expect(deadline.signal.aborted).toBe(false);
  expect(deadline.remainingMs()).toBeGreaterThan(2 ** 39);
  deadline.end();
});

test("the signal says why, and stays as it is after the end", async () => {
  const caller = new AbortController();
  const over = startDeadline({ timeoutMs: undefined, caller: caller.signal });
  over.end();
  const going = startDeadline({ timeoutMs: undefined, caller: caller.signal });
  caller.abort();
  expect([over.signal.aborted, over.remainingMs()]).toEqual([false, undefined]);
  expect(going.signal.reason).toMatchObject({ code: Code.Canceled });
  const short = startDeadline({ timeoutMs: 1, caller: undefined });
  await new Promise((resolve) => short.signal.addEventListener("abort", resolve));
  expect(short.signal.reason).toMatchObject({ code: Code.DeadlineExceeded });
});
