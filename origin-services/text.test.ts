import { expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as fc from "fast-check";

import { readText } from "./text.ts";

function refusal(text: string, maxLength = 10): { reason: Reason; message: string } | null {
  try {
    readText("comment_text", text, maxLength);
    return null;
  } catch (error) {
    return { reason: reasonOf(error), message: String(error) };
  }
}

test.each([
  ["nothing", ""],
  ["spaces", "   "],
  ["line ends and tabs", "\r\n\t\v\f"],
  ["an ideographic space", "\u3000"],
  ["zero-width spaces", "\u200B\u200B"],
  ["zero-width joiners", "\u200D\u200C"],
  ["a byte order mark", "\uFEFF"],
  ["marks of writing direction", "\u202E\u2066"],
  ["Hangul fillers", "\u3164\u115F\u1160\uFFA0"],
  ["an empty Braille cell", "\u2800"],
  ["control characters", "\u0000\u0007"],
  ["half of a surrogate pair", "\uD83D"],
])("a text of %s is no text", (_name, text) => {
  expect(refusal(text)).toMatchObject({
    reason: Reason.INVALID_PARAMETER,
    message: expect.stringContaining("comment_text"),
  });
});

test("white space around a text is dropped, within it stays", () => {
  expect(readText("title", "  two  words \n", 20)).toBe("two  words");
});

test("an emoji made with zero-width joiners stays whole", () => {
  expect(readText("title", "👩‍👩‍👧", 10)).toBe("👩‍👩‍👧");
});

test("two ways to write one letter become one", () => {
  expect(readText("title", "e\u0301", 1)).toBe("é");
});

test("length is in characters, not in their halves, and the limit is in the message", () => {
  expect(readText("title", "😀".repeat(10), 10)).toBe("😀".repeat(10));
  expect(refusal("😀".repeat(11))).toMatchObject({
    reason: Reason.INVALID_PARAMETER,
    message: expect.stringContaining("at most 10"),
  });
  expect(refusal("x".repeat(10_000))?.reason).toBe(Reason.INVALID_PARAMETER);
});

test("whatever is accepted is accepted again unchanged", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), (text) => {
      if (refusal(text, 30)) return;
      const once = readText("title", text, 30);
      expect(readText("title", once, 30)).toBe(once);
      expect(Array.from(once).length).toBeLessThanOrEqual(30);
    }),
  );
});
