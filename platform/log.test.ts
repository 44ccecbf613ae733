import { expect, test } from "bun:test";

import { createLog, type LogLevel } from "./log.ts";

test("logs from the level that applies when something is said", () => {
  const said: string[] = [];
  let level: LogLevel = "info";
  const log = createLog({
    program: "test",
    level: () => level,
    write: (line) => void said.push((JSON.parse(line) as { message: string }).message),
  });
  log.info("one");
  log.debug("too quiet");
  level = "error";
  log.warn("too quiet now");
  log.error("two");
  level = "debug";
  log.debug("three");
  expect(said).toEqual(["one", "two", "three"]);
});
