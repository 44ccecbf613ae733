import { expect, test } from "bun:test";

import { createLog } from "@flick/platform/log.ts";

import { createOutput } from "./output.ts";

function printed(line: string, colour = false): string {
  let text = "";
  createOutput({ colour, write: (part) => (text += part) }).childLine("origin", line);
  return text;
}

function logged(level: "info" | "error", message: string, fields: Record<string, unknown>): string {
  let line = "";
  createLog({ program: "origin", write: (text) => (line = text.trimEnd()) })[level](message, fields);
  return line;
}

test("a child's line stands behind the child's name", () => {
  expect(printed("hello")).toBe("origin   │ hello\n");
});

test("a log line of our programs becomes time, level, message and fields", () => {
  const text = printed(
    logged("info", "listening", { url: "http://127.0.0.1:1", services: ["user"], note: "two words" }),
  );
  expect(text).toMatch(
    /^origin {3}│ \d\d:\d\d:\d\d info {2}listening url=http:\/\/127\.0\.0\.1:1 services=\["user"\] note="two words"\n$/,
  );
});

test("a logged error shows its message, and its stack with the causes on lines of their own", () => {
  const error = new Error("no answer", { cause: new Error("refused") });
  const lines = printed(logged("error", "cannot publish", { error })).split("\n");
  expect(lines[0]).toEndWith('error cannot publish error="no answer"');
  expect(lines[1]).toStartWith("origin   │ Error: no answer");
  expect(lines.some((line) => line.startsWith("origin   │ caused by Error: refused"))).toBe(true);
});

test.each(['{"level":"info"}', "{not json", '["a"]', "{}"])(
  "JSON that is not a log line is printed as it is: %s",
  (line) => {
    expect(printed(line)).toBe(`origin   │ ${line}\n`);
  },
);

test("what a stranger put into a log line cannot move the cursor or hide text", () => {
  expect(printed(logged("info", "named \u001B[2J\u202Eevil", {}))).toContain("named [2Jevil");
  expect(printed("\u001B]0;title\u0007plain\r")).toBe("origin   │ ]0;titleplain\n");
  expect(printed(logged("info", "field", { title: "a\u001B[31m\nb" }))).not.toContain("\u001B");
});

test("colours are used when they are asked for only", () => {
  expect(printed("hello", true)).toContain("\u001B[");
  expect(printed("hello", false)).not.toContain("\u001B[");
});

test("each line of our own text gets the prefix", () => {
  let text = "";
  createOutput({ colour: false, write: (part) => (text += part) }).say("one\n\ntwo");
  expect(text).toBe("flick    │ one\nflick    │\nflick    │ two\n");
});
