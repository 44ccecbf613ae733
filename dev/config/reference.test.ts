import { expect, test } from "bun:test";

import { pageWithSettings } from "./reference.ts";

test("docs/configuration.md has every setting as it is (if not: bun run generate:settings)", async () => {
  const { before, after } = await pageWithSettings();
  expect(before).toBe(after);
});
