import { afterAll, beforeAll, expect, test } from "bun:test";

import type { ApiMessage } from "@flick/dev/api-client.ts";
import { openEventStream, type EventStream } from "@flick/dev/event-stream.ts";

import { atFullSpeed, runStack, type RunningStack } from "./running-stack.ts";

type Person = Awaited<ReturnType<RunningStack["signUp"]>>;

let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
}, 60_000);
afterAll(() => flick.stop(), 30_000);

const listen = (token: string, query: Record<string, string> = {}, headers: Record<string, string> = {}) =>
  openEventStream(`${flick.url}/douyin/message/stream?${new URLSearchParams({ token, ...query }).toString()}`, headers);

const messagesOf = (stream: EventStream) => stream.events.map(({ data }) => JSON.parse(data) as ApiMessage);
const contents = (messages: ApiMessage[]) => messages.map(({ content }) => content);

async function until(what: string, holds: () => Promise<boolean> | boolean, withinMs = 15_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}\n${flick.printed().slice(-2000)}`);
    await Bun.sleep(10);
  }
}

/** Sends them one after another, as fast as they are accepted. */
async function write(from: Person, to: Person, texts: string[]): Promise<void> {
  for (const text of texts) await flick.api.sendMessage(from.token, to.user_id, text);
}

/** Opens the chat as the app does; gives the time of the last message that it shows. */
async function open(me: Person, peer: Person): Promise<number> {
  const { message_list: opened } = await flick.api.chat(me.token, peer.user_id, 0);
  return opened.at(-1)?.create_time ?? 0;
}

/** Polls as the app does with the time of its last message, until `done` says that enough has come; gives what was shown. */
async function poll(
  me: Person,
  peer: Person,
  from: number,
  done: (shown: ApiMessage[]) => boolean,
): Promise<ApiMessage[]> {
  const shown: ApiMessage[] = [];
  let last = from;
  const deadline = Date.now() + 60_000;
  while (!done(shown)) {
    if (Date.now() > deadline) throw new Error(`only ${shown.length} messages came`);
    const { message_list: news } = await flick.api.chat(me.token, peer.user_id, last);
    shown.push(...news);
    last = news.at(-1)?.create_time ?? last;
  }
  return shown;
}

const numbered = (name: string, count: number) => Array.from({ length: count }, (_, index) => `${name} ${index} 🎬`);

test("two people who write at full speed miss nothing and see nothing twice: polling, and the live stream", async () => {
  const [ann, ben] = [await flick.signUp(), await flick.signUp()];
  await write(ann, ben, ["hello"]);
  await write(ben, ann, ["hello yourself"]);
  const total = 300;
  const [texts, replies] = [numbered("ann", total), numbered("ben", total)];
  const streams = [await listen(ann.token), await listen(ben.token, { to_user_id: String(ann.user_id) })] as const;
  const opened = [await open(ann, ben), await open(ben, ann)] as const;
  const enough = (shown: ApiMessage[]) => shown.length >= total;
  const [shownToAnn, shownToBen] = await Promise.all([
    poll(ann, ben, opened[0], enough),
    poll(ben, ann, opened[1], enough),
    write(ann, ben, texts),
    write(ben, ann, replies),
  ]);
  expect(contents(shownToAnn)).toEqual(replies);
  expect(contents(shownToBen)).toEqual(texts);
  await until("both streams have everything", () => streams.every(({ events }) => events.length >= total));
  expect(contents(messagesOf(streams[0]))).toEqual(replies);
  expect(contents(messagesOf(streams[1]))).toEqual(texts);
  await Promise.all(streams.map((stream) => stream.close()));

  const whole: ApiMessage[] = [];
  for (let cursor = 0, more = true; more;) {
    const page = await flick.api.chat(ann.token, ben.user_id, 0, { cursor, count: 100 });
    whole.unshift(...page.message_list);
    [cursor, more] = [page.next_cursor, page.has_more];
  }
  const times = whole.map((message) => message.create_time);
  expect(times).toHaveLength(2 * total + 2);
  expect(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0))).toBe(true);
}, 120_000);

test("chat works one way, between strangers, and pre_msg_time brings only what the other side sent since", async () => {
  const [ann, ben] = [await flick.signUp(), await flick.signUp()];
  await write(ann, ben, ["one", "two"]);
  for (const [me, peer] of [
    [ann, ben],
    [ben, ann],
  ] as const) {
    const { message_list: list } = await flick.api.chat(me.token, peer.user_id, 0);
    expect(list).toMatchObject([
      { content: "one", from_user_id: ann.user_id, to_user_id: ben.user_id },
      { content: "two", from_user_id: ann.user_id, to_user_id: ben.user_id },
    ]);
  }
  const [first] = (await flick.api.chat(ben.token, ann.user_id, 0)).message_list;
  const since = first?.create_time ?? 0;
  expect(contents((await flick.api.chat(ben.token, ann.user_id, since)).message_list)).toEqual(["two"]);
  expect((await flick.api.chat(ann.token, ben.user_id, since)).message_list).toEqual([]);
  await write(ben, ann, ["three"]);
  expect(contents((await flick.api.chat(ann.token, ben.user_id, since)).message_list)).toEqual(["three"]);
});

test("what is new can be paged through as well", async () => {
  const [ann, ben] = [await flick.signUp(), await flick.signUp()];
  await write(ann, ben, numbered("ann", 7));
  const [first] = (await flick.api.chat(ben.token, ann.user_id, 0)).message_list;
  const seen: string[] = [];
  for (let cursor = 0, more = true; more;) {
    const page = await flick.api.chat(ben.token, ann.user_id, first?.create_time ?? 0, { cursor, count: 2 });
    seen.push(...contents(page.message_list));
    [cursor, more] = [page.next_cursor, page.has_more];
  }
  expect(seen).toEqual(numbered("ann", 7).slice(1));
});

test("a stream that breaks off is gone on with where it ended", async () => {
  const [ann, ben, cyd] = [await flick.signUp(), await flick.signUp(), await flick.signUp()];
  const first = await listen(ben.token);
  await write(ann, ben, ["one"]);
  await until("the first message", () => first.events.length === 1);
  await first.close();
  await Promise.all([write(ann, ben, ["two"]), write(cyd, ben, ["three"])]);
  const second = await listen(ben.token, {}, { "last-event-id": first.events.at(-1)?.id ?? "" });
  await until("what was missed", () => second.events.length === 2);
  await write(ann, ben, ["four"]);
  await until("what is new", () => second.events.length === 3);
  expect(contents(messagesOf(second)).toSorted()).toEqual(["four", "three", "two"]);
  expect(contents(messagesOf(second)).at(-1)).toBe("four");
  await second.close();
});

test("streams survive a killed change-data capture and a killed Redis: nothing is lost or repeated", async () => {
  const [ann, ben] = [await flick.signUp(), await flick.signUp()];
  const stream = await listen(ben.token, { to_user_id: String(ann.user_id) });
  const texts: string[] = [];
  for (const name of ["cdc", "redis"]) {
    process.kill(flick.pidOf(name), "SIGKILL");
    const during = numbered(`without ${name}`, 5);
    await write(ann, ben, during);
    texts.push(...during);
    await until(`messages after ${name} was killed`, () => stream.events.length >= texts.length, 40_000);
  }
  expect(contents(messagesOf(stream))).toEqual(texts);
  await stream.close();
}, 120_000);

test("an origin that stops sends its streams away, and they go on with its successor", async () => {
  const [ann, ben] = [await flick.signUp(), await flick.signUp()];
  const stream = await listen(ben.token);
  await write(ann, ben, ["before"]);
  await until("the message before", () => stream.events.length === 1);
  process.kill(flick.pidOf("origin"), "SIGTERM");
  await stream.ended;
  expect(stream.comments.at(-1)).toBe("the service is stopping: reconnect");
  let next: EventStream | undefined;
  const since = stream.events.at(-1)?.id ?? "";
  await until("the origin is back", async () => {
    next = await listen(ben.token, { since }).catch(() => undefined);
    return next !== undefined;
  });
  await write(ann, ben, ["after"]);
  await until("the message after", () => next?.events.length === 1);
  expect(next ? contents(messagesOf(next)) : []).toEqual(["after"]);
  await next?.close();
}, 60_000);
