import { expect, test } from "bun:test";

import { createPseudonyms } from "./pseudonyms.ts";

test("are the same for all who share a secret, and others for each text and each other secret", async () => {
  const [one, two, other] = [createPseudonyms("secret"), createPseudonyms("secret"), createPseudonyms("another")];
  const name = await one("203.0.113.7");
  expect(name).toMatch(/^[0-9a-f]{32}$/);
  expect(await two("203.0.113.7")).toBe(name);
  expect(await one("203.0.113.7")).toBe(name);
  expect(await one("203.0.113.8")).not.toBe(name);
  expect(await other("203.0.113.7")).not.toBe(name);
});

test("can be made without a secret, where nothing is shared", async () => {
  expect(await createPseudonyms("")("203.0.113.7")).toMatch(/^[0-9a-f]{32}$/);
});
