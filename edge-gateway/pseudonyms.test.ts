import { expect, test } from "bun:test";

import { addressGroup } from "./client-address.ts";
import { createPseudonyms } from "./pseudonyms.ts";

test("are the same for all who share a secret, and others for each text and each other secret", async () => {
  const [one, two, other] = [createPseudonyms("secret"), createPseudonyms("secret"), createPseudonyms("another")];
  const name = await one("address", "203.0.113.7");
  expect(name).toMatch(/^[0-9a-f]{32}$/);
  expect(await two("address", "203.0.113.7")).toBe(name);
  expect(await one("address", "203.0.113.7")).toBe(name);
  expect(await one("address", "203.0.113.8")).not.toBe(name);
  expect(await one("account", "203.0.113.7")).not.toBe(name);
  expect(await other("address", "203.0.113.7")).not.toBe(name);
});

test("are the same for all forms of a name, and are there at once when they are known", async () => {
  const pseudonym = createPseudonyms("secret");
  const name = await pseudonym("address", "203.0.113.7");
  expect(await pseudonym("address", "::ffff:203.0.113.7", addressGroup)).toBe(name);
  expect(pseudonym("address", "::ffff:203.0.113.7", addressGroup)).toBe(name);
});

test("can be made without a secret, where nothing is shared", async () => {
  expect(await createPseudonyms("")("address", "203.0.113.7")).toMatch(/^[0-9a-f]{32}$/);
});
