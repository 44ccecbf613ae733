import { describe, expect, test } from "bun:test";

import { createStreamCursor, readStreamPosition, type StreamPosition } from "./stream-cursor.ts";

const began = 1_790_000_000_000;
const options = { exact: false, now: () => began + 60_000 };
const cursorAt = (position: StreamPosition) => createStreamCursor(position, options);

describe("a stream's cursor", () => {
  test("lets a message through once, and none from before its place", () => {
    const cursor = cursorAt({ after: began, came: [] });
    expect(cursor.accept({ id: 1, createTime: began })).toBe(false);
    expect(cursor.accept({ id: 2, createTime: began + 1 })).toBe(true);
    expect(cursor.accept({ id: 2, createTime: began + 1 })).toBe(false);
  });

  test("tells messages of one time apart, and takes one that comes after a later one", () => {
    const cursor = cursorAt({ after: began, came: [] });
    expect(cursor.accept({ id: 1, createTime: began + 100 })).toBe(true);
    expect(cursor.accept({ id: 2, createTime: began + 100 })).toBe(true);
    expect(cursor.accept({ id: 3, createTime: began + 50 })).toBe(true);
    expect(cursor.accept({ id: 3, createTime: began + 50 })).toBe(false);
  });

  test("gives an id from which another stream goes on without a gap or a repetition", () => {
    const first = cursorAt({ after: began, came: [] });
    first.accept({ id: 7_001, createTime: began + 100 });
    first.accept({ id: 7_002, createTime: began + 200 });
    const next = cursorAt(readStreamPosition(first.id()));
    expect(next.accept({ id: 7_001, createTime: began + 100 })).toBe(false);
    expect(next.accept({ id: 7_002, createTime: began + 200 })).toBe(false);
    expect(next.accept({ id: 7_003, createTime: began + 150 })).toBe(true);
    expect(next.accept({ id: 7_004, createTime: began + 200 })).toBe(true);
    expect(first.id()).toStartWith(`${began + 200}-`);
  });

  test("forgets what is so old that nothing can come from before it", () => {
    const cursor = cursorAt({ after: began, came: [] });
    cursor.accept({ id: 1, createTime: began + 1 });
    cursor.accept({ id: 2, createTime: began + 10_000 });
    expect(readStreamPosition(cursor.id())).toEqual({ after: began + 5_000, came: [2] });
  });

  test("does not take the time of a conversation that is ahead of the clock for its own", () => {
    const cursor = createStreamCursor({ after: began, came: [] }, { exact: false, now: () => began + 10 });
    cursor.accept({ id: 1, createTime: began + 60_000 });
    expect(cursor.accept({ id: 2, createTime: began + 5 })).toBe(true);
  });

  test("leaves nothing out after a burst, and its ids stay short", () => {
    const cursor = cursorAt({ after: began, came: [] });
    for (let id = 1; id <= 30_000; id++) cursor.accept({ id, createTime: began + (id % 4_000) });
    expect(cursor.id().length).toBeLessThan(500);
    expect(cursor.accept({ id: 40_000, createTime: began + 3_999 })).toBe(true);
  });

  test("names the time alone when the stream has one conversation", () => {
    const cursor = createStreamCursor({ after: began, came: [] }, { ...options, exact: true });
    cursor.accept({ id: 1, createTime: began + 2 });
    cursor.accept({ id: 2, createTime: began + 1 });
    expect(cursor.id()).toBe(String(began + 2));
  });
});

test("a create_time is a place in a stream", () => {
  expect(readStreamPosition("1790000000000")).toEqual({ after: 1_790_000_000_000, came: [] });
});

test.each([
  "",
  "x",
  "-1",
  "1.5",
  "1e9",
  "99999999999999999999",
  "9999999999999999",
  "5-z-",
  "5-zzz-1",
  "1-0-A",
  "1-0-_",
])("%p is refused as a place in a stream", (since) => {
  expect(() => readStreamPosition(since)).toThrow("since");
});
