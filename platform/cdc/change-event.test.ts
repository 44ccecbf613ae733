import { describe, expect, test } from "bun:test";

import { ChangeError, decodeChange } from "./change-event.ts";

const after = { id: 7, title: "🎬", feed_time: null };

describe("decodeChange", () => {
  test("reads what the tailer writes", () => {
    const source = {
      connector: "mysql",
      db: "flick",
      table: "videos",
      file: "binlog.000002",
      pos: 42,
      row: 3,
      ts_ms: 1_700_000_000_000,
    };
    const value = JSON.stringify({ before: { ...after, title: "" }, after, op: "u", source, ts_ms: 1_700_000_000_500 });
    expect(decodeChange(value)).toEqual({
      op: "u",
      table: "videos",
      before: { ...after, title: "" },
      after,
      tsMs: 1_700_000_000_000,
      position: "binlog.000002:42:3",
    });
  });

  test("reads what a pipeline of Flink CDC's writes, which says less about the source", () => {
    const source = { db: "flick", table: "videos" };
    const inserted = JSON.stringify({ before: null, after, op: "c", source });
    expect(decodeChange(inserted)).toEqual({
      op: "c",
      table: "videos",
      before: null,
      after,
      tsMs: null,
      position: null,
    });
    const deleted = JSON.stringify({ before: after, after: null, op: "d", source });
    expect(decodeChange(deleted)).toMatchObject({ op: "d", before: after, after: null });
  });

  test("takes a row read by a snapshot for a new one", () => {
    const value = JSON.stringify({ after, op: "r", source: { table: "videos" }, ts_ms: 5 });
    expect(decodeChange(value)).toMatchObject({ op: "c", before: null, after, tsMs: 5 });
  });

  test("loses nothing of integers beyond 2^53, written as numbers or as strings", () => {
    const value = `{"after": {"a": 9223372036854775807, "b": -9223372036854775808, "c": "18446744073709551615", "d": 9007199254740991,
      "e": "1234567890123456", "f": 0.1234567890123456, "g": 1e300}, "op": "c", "source": {"table": "t"}}`;
    expect(decodeChange(value).after).toEqual({
      a: "9223372036854775807",
      b: "-9223372036854775808",
      c: "18446744073709551615",
      d: 9_007_199_254_740_991,
      e: "1234567890123456",
      f: 0.1234567890123456,
      g: 1e300,
    });
  });

  test.each([
    ["", "the value is not JSON"],
    ["null", "the value is not as expected"],
    [JSON.stringify({ after, op: "t", source: { table: "t" } }), "op is not as expected"],
    [JSON.stringify({ after, op: "c" }), "source is not as expected"],
    [JSON.stringify({ after, op: "c", source: {} }), "source.table is not as expected"],
    [JSON.stringify({ after: [1], op: "c", source: { table: "t" } }), "after is not as expected"],
    [JSON.stringify({ after, op: "d", source: { table: "t" } }), "before is missing"],
    [JSON.stringify({ before: after, op: "u", source: { table: "t" } }), "after is missing"],
  ])("refuses %p and says why", (value, reason) => {
    expect(() => decodeChange(value)).toThrow(ChangeError);
    expect(() => decodeChange(value)).toThrow(reason);
  });
});
