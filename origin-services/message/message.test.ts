import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { outcome } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";

interface Account {
  userId: number;
  token: string;
}

let origin: TestOrigin;
/** A second process, as far as the database can tell: its own connections, its own queue, its own ids. */
let second: TestOrigin;
beforeAll(async () => {
  origin = await startTestOrigin();
  second = await startTestOrigin({
    MYSQL_URL: origin.mysqlUrl,
    REDIS_URL: origin.redisUrl,
    JWT_PRIVATE_KEY_FILE: origin.keyFile,
    NODE_ID: "1",
  });
});
afterAll(async () => {
  await second.stop();
  await origin.stop();
});

const pair = () => Promise.all([origin.signUp(), origin.signUp()]);

async function send(from: Account, to: Account, content: string, by = origin) {
  const { message } = await by.as(from.token).message.sendMessage({ toUserId: BigInt(to.userId), content });
  if (!message) throw new Error("the message is missing");
  return message;
}

const chat = (viewer: Account, peer: Account, request: { afterMs?: bigint; cursor?: bigint; count?: number } = {}) =>
  origin.as(viewer.token).message.listMessages({ peerId: BigInt(peer.userId), ...request });

const contents = (messages: { content: string }[]) => messages.map(({ content }) => content);

function expectStrictlyIncreasing(times: bigint[]): void {
  for (const [index, time] of times.entries()) {
    if (index > 0) expect(time).toBeGreaterThan(times[index - 1] ?? 0n);
  }
}

describe("a message", () => {
  test("comes back whole and is in the chat of both for the next request, also between strangers", async () => {
    const [one, other] = await pair();
    const before = Date.now();
    const message = await send(one, other, " hi 👋 ");
    expect(message).toMatchObject({ fromUserId: BigInt(one.userId), toUserId: BigInt(other.userId), content: "hi 👋" });
    expect(Number(message.createTime)).toBeGreaterThanOrEqual(before);
    for (const [viewer, peer] of [
      [one, other],
      [other, one],
    ] as const) {
      expect((await chat(viewer, peer)).messages).toEqual([message]);
    }
  });

  test("to oneself is refused", async () => {
    const [one] = await pair();
    expect(await outcome(send(one, one, "note to self"))).toBe("SELF_MESSAGE");
    expect((await chat(one, one)).messages).toEqual([]);
  });

  test.each([0n, -1n, 7n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])("to nobody (%p) is refused", async (toUserId) => {
    const [one] = await pair();
    const { message } = origin.as(one.token);
    expect(await outcome(message.sendMessage({ toUserId, content: "anybody?" }))).toBe("USER_NOT_FOUND");
    expect((await message.listMessages({ peerId: toUserId })).messages).toEqual([]);
  });

  test.each([
    ["nothing", ""],
    ["blanks", " \n\t　"],
    ["characters that are drawn as nothing", "\u200B\u200D\uFEFF\u2060"],
    ["10 000 characters", "x".repeat(10_000)],
    ["1001 characters", "é".repeat(1001)],
  ])("of %s is refused and names the parameter", async (_name, content) => {
    const [one, other] = await pair();
    await expect(send(one, other, content)).rejects.toThrow("content");
    expect(await outcome(send(one, other, content))).toBe("INVALID_PARAMETER");
    expect((await chat(one, other)).messages).toEqual([]);
  });

  test("of 1000 characters of four bytes is kept whole", async () => {
    const [one, other] = await pair();
    await send(one, other, "👋".repeat(1000));
    expect(contents((await chat(other, one)).messages)).toEqual(["👋".repeat(1000)]);
  });
});

describe("times", () => {
  test("strictly increase within a conversation, however much comes at once through two origins", async () => {
    const [one, other] = await pair();
    const sent = await Promise.all(
      Array.from({ length: 120 }, (_, index) => {
        const [from, to] = index % 2 ? [one, other] : [other, one];
        return send(from, to, `${index}`, index % 3 ? origin : second);
      }),
    );
    expect(new Set(sent.map((message) => message.createTime)).size).toBe(120);
    const { messages } = await chat(one, other);
    expect(messages).toHaveLength(120);
    expectStrictlyIncreasing(messages.map((message) => message.createTime));
  });

  test("follow the order in which somebody writes", async () => {
    const [one, other] = await pair();
    const times: bigint[] = [];
    for (let index = 0; index < 20; index++) times.push((await send(one, other, `${index}`)).createTime);
    expectStrictlyIncreasing(times);
  });

  test("let two who write at full speed and poll as the app does miss nothing and see nothing twice", async () => {
    const [one, other] = await pair();
    const total = 40;
    const write = async (from: Account, to: Account, by: TestOrigin) => {
      for (let index = 0; index < total; index++) await send(from, to, `${index}`, by);
    };
    const poll = async (viewer: Account, peer: Account) => {
      const seen: string[] = [];
      let afterMs = 1n;
      const deadline = Date.now() + 20_000;
      while (seen.length < total && Date.now() < deadline) {
        const { messages } = await chat(viewer, peer, { afterMs, count: 7 });
        seen.push(...contents(messages));
        afterMs = messages.at(-1)?.createTime ?? afterMs;
      }
      return seen;
    };
    const all = Array.from({ length: total }, (_, index) => `${index}`);
    const [, , bySecond, byFirst] = await Promise.all([
      write(one, other, origin),
      write(other, one, second),
      poll(other, one),
      poll(one, other),
    ]);
    expect(bySecond).toEqual(all);
    expect(byFirst).toEqual(all);
  }, 30_000);
});

describe("the chat", () => {
  test("after a time has only what the peer sent later, oldest first", async () => {
    const [one, other] = await pair();
    const first = await send(other, one, "1");
    await send(one, other, "2");
    await send(other, one, "3");
    await send(other, one, "4");
    await send(one, other, "5");
    expect(contents((await chat(one, other, { afterMs: first.createTime })).messages)).toEqual(["3", "4"]);
    expect(contents((await chat(one, other, { afterMs: first.createTime - 1n })).messages)).toEqual(["1", "3", "4"]);
    expect(contents((await chat(other, one, { afterMs: first.createTime })).messages)).toEqual(["2", "5"]);
    expect((await chat(one, other, { afterMs: 2n ** 63n - 1n })).messages).toEqual([]);
  });

  test("after a time comes in pages of which each leads to the next", async () => {
    const [one, other] = await pair();
    for (let index = 0; index < 5; index++) await send(other, one, `${index}`);
    const seen: string[] = [];
    let afterMs = 1n;
    for (let page = 0; page < 3; page++) {
      const answer = await chat(one, other, { afterMs, count: 2 });
      seen.push(...contents(answer.messages));
      expect(answer.hasMore).toBe(page < 2);
      afterMs = answer.nextCursor;
    }
    expect(seen).toEqual(["0", "1", "2", "3", "4"]);
  });

  test("without a time is its newest page, oldest first, and the cursor leads to older ones", async () => {
    const [one, other] = await pair();
    for (let index = 0; index < 5; index++) await send(index % 2 ? one : other, index % 2 ? other : one, `${index}`);
    const newest = await chat(one, other, { count: 2 });
    expect(contents(newest.messages)).toEqual(["3", "4"]);
    const middle = await chat(one, other, { count: 2, cursor: newest.nextCursor });
    expect(contents(middle.messages)).toEqual(["1", "2"]);
    const oldest = await chat(one, other, { count: 2, cursor: middle.nextCursor });
    expect(contents(oldest.messages)).toEqual(["0"]);
    expect([newest, middle, oldest].map(({ hasMore }) => hasMore)).toEqual([true, true, false]);
  });

  test("of two people is closed to a third", async () => {
    const [one, other] = await pair();
    const [third] = await pair();
    await send(one, other, "between us");
    expect((await chat(third, one)).messages).toEqual([]);
    expect((await chat(third, other, { afterMs: 1n })).messages).toEqual([]);
  });

  test("takes cursors and counts that nobody gave out", async () => {
    const [one, other] = await pair();
    await send(one, other, "x");
    for (const cursor of [-1n, 1n, 2n ** 53n, 2n ** 63n - 1n])
      expect(await outcome(chat(one, other, { cursor }))).toBe("ok");
    for (const count of [-1, 501, 2 ** 31 - 1]) expect((await chat(one, other, { count })).messages).toHaveLength(1);
    expect((await chat(one, other, { afterMs: -5n })).messages).toHaveLength(1);
  });
});

describe("somebody who is not signed in", () => {
  test("neither writes nor reads", async () => {
    const [one, other] = await pair();
    const { message } = origin.as();
    expect(await outcome(message.sendMessage({ toUserId: BigInt(one.userId), content: "x" }))).toBe("UNAUTHENTICATED");
    expect(await outcome(message.listMessages({ peerId: BigInt(other.userId) }))).toBe("UNAUTHENTICATED");
  });

  test("or is a viewer does not get at what only our services ask", async () => {
    const [one, other] = await pair();
    for (const { message } of [origin.as(), origin.as(one.token)]) {
      const call = message.batchGetLatestMessages({ userId: BigInt(other.userId), peerIds: [BigInt(one.userId)] });
      expect(await outcome(call)).toBe("PERMISSION_DENIED");
    }
  });
});
