import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { users } from "@flick/db/schema/user.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { eq } from "drizzle-orm";

import { startTestOrigin, type TestOrigin } from "../testing.ts";

let origin: TestOrigin;
beforeAll(async () => {
  origin = await startTestOrigin();
});
afterAll(() => origin.stop());

const password = "correct horse";
const register = (username: string, secret = password) => origin.as().user.register({ username, password: secret });
const login = (username: string, secret = password) => origin.as().user.login({ username, password: secret });
const reason = (call: Promise<unknown>) =>
  call.then(
    () => "success",
    (error: unknown) => Reason[reasonOf(error)],
  );

describe("an account", () => {
  test("is made, signs in, and shows its profile with defaults that load", async () => {
    const made = await register("mary");
    const entered = await login("mary");
    expect(entered.userId).toBe(made.userId);
    const { user } = await origin.as(entered.token).user.getUser({});
    expect(user).toMatchObject({ id: made.userId, name: "mary", workCount: 0n, isFollow: false });
    expect(user?.signature).not.toBe("");
    for (const url of [user?.avatar, user?.backgroundImage]) {
      const image = await fetch(url ?? "");
      expect(image.status).toBe(200);
      expect(image.headers.get("content-type")).toStartWith("image/");
    }
  });

  test("keeps a name with emoji and four-byte characters as it was written", async () => {
    const name = "𠮷野家 🎬👩‍👩‍👧";
    const { token } = await register(name);
    expect((await origin.as(token).user.getUser({})).user?.name).toBe(name);
    expect((await login(name)).token).not.toBe("");
  });

  test("is told apart by its emoji alone", async () => {
    await register("😀");
    expect(await reason(register("😁"))).toBe("success");
  });

  test("cannot take a name that differs only in letter case, width or surrounding space", async () => {
    await register("Straße Ａ1");
    for (const name of ["straße a1", " STRASSE A1".replace("SS", "ß"), "straße Ａ1 "]) {
      expect(await reason(register(name))).toBe("USERNAME_TAKEN");
    }
  });

  test("cannot take a name that differs only in what nobody sees", async () => {
    await register("zoë 👩‍👩‍👧");
    for (const name of ["\u200Bzoë 👩‍👩‍👧", "zo\u00ADe\u0308 👩‍👩‍👧", "zoë 👩👩👧\uFE0F", "z\u3164oë\u2060 👩‍👩‍👧"]) {
      expect(await reason(register(name))).toBe("USERNAME_TAKEN");
    }
  });

  test("goes to exactly one of 50 clients that ask for the same name at once", async () => {
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => reason(register("wanted"))));
    expect(outcomes.filter((outcome) => outcome === "success")).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === "USERNAME_TAKEN")).toHaveLength(49);
    expect(await origin.db.$count(users, eq(users.nameKey, "wanted"))).toBe(1);
  });

  test.each([
    ["an empty name", "", password],
    ["a name of blanks", "   ", password],
    ["a name of zero-width spaces", "\u200B\uFEFF\u2060", password],
    ["a name of letters that are drawn as nothing", "\u2800 \u3164", password],
    ["a name of 33 characters", "x".repeat(33), password],
    ["a name with a line break", "two\nlines", password],
    ["a name that turns the direction of text", "abc\u202Edef", password],
    ["an empty password", "somebody", ""],
    ["a password of 5 characters", "somebody", "12345"],
    ["a password of 33 characters", "somebody", "x".repeat(33)],
  ])("is refused with %s", async (_case, username, secret) => {
    expect(await reason(register(username, secret))).toBe("INVALID_PARAMETER");
  });

  test("may have a name and a password of 32 characters of four bytes each", async () => {
    const name = "🎥".repeat(32);
    const secret = "🔑".repeat(32);
    await register(name, secret);
    expect(await reason(login(name, secret))).toBe("success");
    // bcrypt alone would stop reading after 72 bytes, which is 18 of these.
    expect(await reason(login(name, `${"🔑".repeat(31)}🔒`))).toBe("WRONG_CREDENTIALS");
  });
});

test("signing in says the same for an unknown name and for a wrong password", async () => {
  await register("known");
  const complaints = await Promise.all(
    [login("known", "not the one"), login("nobody", "not the one")].map((call) =>
      call.then(
        () => null,
        (error: Error) => ({ message: error.message, reason: reasonOf(error) }),
      ),
    ),
  );
  expect(complaints[0]).toEqual(complaints[1] ?? null);
  expect(complaints[0]?.reason).toBe(Reason.WRONG_CREDENTIALS);
});

test("an unknown user is said to be unknown", async () => {
  const { token } = await origin.signUp();
  expect(await reason(origin.as(token).user.getUser({ userId: 12345n }))).toBe("USER_NOT_FOUND");
});

test("neither passwords nor hashes nor tokens are logged, also when a call fails", async () => {
  const { token } = await origin.signUp();
  await reason(login("somebody", "a very secret word"));
  await reason(register("user 1", "a very secret word"));
  await reason(origin.as(`${token}x`).user.getUser({}));
  const lines = origin.logged.join("");
  for (const secret of ["a very secret word", "$2b$", token]) expect(lines).not.toContain(secret);
});
