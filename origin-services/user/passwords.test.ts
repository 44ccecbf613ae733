import { afterAll, expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { createPasswords } from "./passwords.ts";

const passwords = createPasswords({ threads: 2, maxQueue: 4, cost: 4 });
afterAll(() => passwords.close());

test("a password fits its own hash and no other", async () => {
  const hash = await passwords.hash("open sesame");
  expect(hash).toStartWith("$2b$04$");
  expect(await passwords.verify("open sesame", hash)).toBe(true);
  expect(await passwords.verify("open barley", hash)).toBe(false);
});

test("the same password hashes differently every time", async () => {
  expect(await passwords.hash("again")).not.toBe(await passwords.hash("again"));
});

test("two ways of writing the same characters are the same password", async () => {
  expect(await passwords.verify("cafe\u0301s", await passwords.hash("caf\u00E9s"))).toBe(true);
});

test("nothing fits the hash of an unknown user", async () => {
  expect(await passwords.verify("anything", null)).toBe(false);
});

test("hashing leaves the event loop free", async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const slow = createPasswords({ threads: 1, cost: 10 });
  await slow.hash("takes tens of milliseconds");
  await slow.hash("and again");
  clearInterval(timer);
  slow.close();
  expect(ticks).toBeGreaterThan(5);
});

test("a queue that is full refuses at once, and says how long it is", async () => {
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => passwords.hash("busy")));
  const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as Error] : []));
  expect(refused).toHaveLength(20 - 2 - 4);
  expect(reasonOf(refused[0])).toBe(Reason.BUSY);
  expect(refused[0]?.message).toContain("4");
});

test("an unknown user who came while the queue was full is told no other than anybody once it is not", async () => {
  const crowded = createPasswords({ threads: 1, maxQueue: 1, cost: 4 });
  const crowd = Promise.all([crowded.hash("at work"), crowded.hash("waits")]);
  const refused = await crowded.verify("anything", null).catch(reasonOf);
  await crowd;
  const answered = await crowded.verify("anything", null);
  crowded.close();
  expect([refused, answered]).toEqual([Reason.BUSY, false]);
});

test("a hash that is no hash fails its own call only", async () => {
  expect(await passwords.verify("x", "not a hash")).toBe(false);
  expect(await passwords.verify("y", await passwords.hash("y"))).toBe(true);
});

test("closing rejects what still waits", async () => {
  const closing = createPasswords({ threads: 1, cost: 12 });
  const waiting = [closing.hash("a"), closing.hash("b")];
  closing.close();
  const outcomes = await Promise.allSettled(waiting);
  expect(outcomes.map((outcome) => outcome.status)).toEqual(["rejected", "rejected"]);
});
