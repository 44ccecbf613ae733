import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openEventStream } from "@flick/dev/event-stream.ts";
import { startRedis, type TestServer } from "@flick/dev/testing.ts";
import { databaseOf } from "@flick/platform/cdc/env.ts";
import { createBinlogTailer, type BinlogTailer } from "@flick/platform/cdc/tailer.ts";
import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { streamPath } from "@flick/proto/stream.ts";

import { startTestOrigin, type TestOrigin } from "../testing.ts";
import { readLiveMessages } from "./live-messages.ts";
import { createMessageStreams } from "./stream.ts";

setDefaultTimeout(30_000);

let dir: string;
let redis: TestServer;
let origin: TestOrigin;
let events: EventLog;
let tailer: BinlogTailer;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-stream-"));
  // Its own: the group of this origin's node may have no other member.
  redis = await startRedis({ dir });
  const log = createLog({ program: "cdc", write: () => {} });
  origin = await startTestOrigin({ REDIS_URL: redis.url });
  events = createRedisStreamsEventLog({ url: redis.url, log });
  const database = databaseOf(origin.mysqlUrl);
  tailer = createBinlogTailer({ mysqlUrl: origin.mysqlUrl, database, eventLog: events, log, serverId: 30_093 });
  while (!tailer.status().reading) await Bun.sleep(20);
});
afterAll(async () => {
  await tailer.stop();
  await events.close();
  await origin.stop();
  await redis.stop();
  await rm(dir, { recursive: true, force: true });
});

type Person = Awaited<ReturnType<TestOrigin["signUp"]>>;

interface StreamedMessage {
  id: number;
  from_user_id: number;
  to_user_id: number;
  content: string;
  create_time: number;
}

const addressOf = (query: Record<string, string | number>) => {
  const url = new URL(`${origin.url}${streamPath}`);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  return url;
};

/** Resolves when the stream has begun. */
async function listen(token: string, query: Record<string, string | number> = {}) {
  const stream = await openEventStream(addressOf(query), { authorization: `Bearer ${token}` });
  const messages = () => stream.events.map(({ data }) => JSON.parse(data) as StreamedMessage);
  return { ...stream, messages, contents: () => messages().map(({ content }) => content) };
}

const send = (from: Person, to: Person, content: string) =>
  origin.as(from.token).message.sendMessage({ toUserId: BigInt(to.userId), content });

async function until(holds: () => boolean, withinMs = 10_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`nothing came of it within ${withinMs} ms`);
    await Bun.sleep(10);
  }
}

test("a message reaches its receiver's streams at once, and nobody else's", async () => {
  const [ann, ben, cyd] = [await origin.signUp(), await origin.signUp(), await origin.signUp()];
  const streams = [await listen(ben.token), await listen(ben.token), await listen(ann.token), await listen(cyd.token)];
  const { message } = await send(ann, ben, "hello\nthere 👋\r\n\u2028");
  await until(() => streams[0]?.events.length === 1 && streams[1]?.events.length === 1);
  expect(streams[0]?.messages()[0]).toEqual({
    id: Number(message?.id),
    to_user_id: ben.userId,
    from_user_id: ann.userId,
    content: "hello\nthere 👋",
    create_time: Number(message?.createTime),
  });
  await send(cyd, ben, "me too");
  await until(() => streams[0]?.events.length === 2 && streams[1]?.events.length === 2);
  expect(streams.map((stream) => stream.contents().length)).toEqual([2, 2, 0, 0]);
  await Promise.all(streams.map((stream) => stream.close()));
});

test("a stream of one conversation has nothing of the others", async () => {
  const [ann, ben, cyd] = [await origin.signUp(), await origin.signUp(), await origin.signUp()];
  const stream = await listen(ann.token, { peer_id: ben.userId });
  await send(cyd, ann, "from cyd");
  await send(ann, ben, "from ann");
  const { message } = await send(ben, ann, "from ben");
  await until(() => stream.events.length > 0);
  expect(stream.contents()).toEqual(["from ben"]);
  expect(stream.events[0]?.id).toBe(String(message?.createTime));
  await stream.close();
});

test.each(["everybody", "one person"])(
  "who comes back again and again while people write misses nothing: a stream of %s",
  async (whose) => {
    const [ann, ben, cyd] = [await origin.signUp(), await origin.signUp(), await origin.signUp()];
    const senders = whose === "everybody" ? [ann, cyd] : [ann];
    const filter: Record<string, number> = whose === "everybody" ? {} : { peer_id: ann.userId };
    const expected = senders.flatMap(({ name }) => Array.from({ length: 150 }, (_, i) => `${name}: ${i}`));
    let written = 0;
    const writing = Promise.all(
      senders.map(async (sender) => {
        for (const text of expected.filter((each) => each.startsWith(`${sender.name}:`))) {
          await send(sender, ben, text);
          written++;
        }
      }),
    );
    const seen: string[] = [];
    let since = "1";
    while (new Set(seen).size < expected.length) {
      const before = written;
      await until(() => written >= Math.min(before + 20, expected.length));
      const stream = await listen(ben.token, { ...filter, since });
      await until(() => stream.events.length > 0);
      await Bun.sleep(30);
      await stream.close();
      seen.push(...stream.contents());
      since = stream.events.at(-1)?.id ?? since;
    }
    await writing;
    // After a burst of several people's messages the last few may come again; of one person's, none does.
    const once = whose === "everybody" ? [...new Set(seen)] : seen;
    expect(once.toSorted()).toEqual(expected.toSorted());
    if (whose === "one person") expect(seen).toEqual(expected);
  },
);

test("a few messages of several people are neither lost nor repeated by coming back", async () => {
  const [ann, ben, cyd] = [await origin.signUp(), await origin.signUp(), await origin.signUp()];
  const seen: string[] = [];
  let since = "1";
  for (let round = 0; round < 5; round++) {
    await Promise.all([send(ann, ben, `ann ${round}`), send(cyd, ben, `cyd ${round}`)]);
    const stream = await listen(ben.token, { since });
    await until(() => stream.events.length === 2);
    seen.push(...stream.contents());
    since = stream.events.at(-1)?.id ?? "";
    await stream.close();
  }
  expect(seen.toSorted()).toEqual(["ann", "cyd"].flatMap((name) => [0, 1, 2, 3, 4].map((round) => `${name} ${round}`)));
});

test("who comes back is not shown what they wrote themselves", async () => {
  const [ann, ben] = [await origin.signUp(), await origin.signUp()];
  await send(ann, ben, "to ben");
  await send(ben, ann, "to ann");
  for (const [me, peer, expected] of [
    [ann, ben, "to ann"],
    [ben, ann, "to ben"],
  ] as const) {
    for (const filter of [{}, { peer_id: peer.userId }]) {
      const stream = await listen(me.token, { since: 1, ...filter });
      await until(() => stream.events.length > 0);
      await Bun.sleep(20);
      expect(stream.contents()).toEqual([expected]);
      await stream.close();
    }
  }
});

test("a long absence is read in pages, oldest first", async () => {
  const [ann, ben] = [await origin.signUp(), await origin.signUp()];
  await Promise.all(Array.from({ length: 450 }, (_, i) => send(ann, ben, `${i}`)));
  for (const query of [{}, { peer_id: ann.userId }]) {
    const stream = await listen(ben.token, { since: 1, ...query });
    await until(() => stream.events.length >= 450);
    const times = stream.messages().map((message) => message.create_time);
    expect(times).toEqual(times.toSorted((one, other) => one - other));
    expect(new Set(stream.contents()).size).toBe(450);
    expect(stream.events).toHaveLength(450);
    await stream.close();
  }
});

test("what the event log delivers twice is sent once", async () => {
  const [ann, ben] = [await origin.signUp(), await origin.signUp()];
  const stream = await listen(ben.token);
  await send(ann, ben, "once");
  await until(() => stream.events.length === 1);
  const again = await events.last("cdc.messages");
  await events.publish([{ topic: "cdc.messages", key: again?.key ?? "", value: again?.value ?? "" }]);
  await send(ann, ben, "twice");
  await until(() => stream.events.length === 2);
  expect(stream.contents()).toEqual(["once", "twice"]);
  await stream.close();
});

test("a record that cannot be read is skipped", async () => {
  const [ann, ben] = [await origin.signUp(), await origin.signUp()];
  const stream = await listen(ben.token);
  const change = { op: "c", before: null, after: { id: 1 }, source: { table: "messages" } };
  const values = ["rubbish", JSON.stringify(change), JSON.stringify({ ...change, op: "d", before: {}, after: null })];
  await events.publish(values.map((value) => ({ topic: "cdc.messages", key: "1", value })));
  await send(ann, ben, "after the rubbish");
  await until(() => stream.events.length === 1);
  expect(stream.contents()).toEqual(["after the rubbish"]);
  await stream.close();
});

test.each<[string, Record<string, string>, number, string]>([
  ["without a token", {}, 401, "token"],
  ["with a bad token", {}, 401, "token"],
  ["from a forged place", { since: "1-2-3-four!" }, 400, "since"],
  ["of nobody", { peer_id: "-1" }, 400, "peer_id"],
])("a stream %s is refused", async (what, query, status, word) => {
  const { token } = await origin.signUp();
  const sent = what.includes("bad") ? "rubbish" : what.includes("without") ? null : token;
  const response = await fetch(addressOf(query), { headers: sent === null ? {} : { authorization: `Bearer ${sent}` } });
  expect(response.status).toBe(status);
  expect(((await response.json()) as { message: string }).message).toContain(word);
});

test("one user has at most 8 streams, and a place is free again when one ends", async () => {
  const { token } = await origin.signUp();
  const streams = [];
  for (let i = 0; i < 8; i++) streams.push(await listen(token));
  const refused = await fetch(addressOf({}), { headers: { authorization: `Bearer ${token}` } });
  expect(refused.status).toBe(429);
  expect(((await refused.json()) as { message: string }).message).toContain("8 streams");
  await streams[0]?.close();
  const deadline = Date.now() + 10_000;
  let next = await listen(token).catch(() => null);
  for (; !next && Date.now() < deadline; next = await listen(token).catch(() => null)) await Bun.sleep(20);
  streams.push(next ?? (await listen(token)));
  await Promise.all(streams.map((stream) => stream.close()));
});

test("a client that does not read is sent away, and nobody waits for it", async () => {
  const [ann, ben] = [await origin.signUp(), await origin.signUp()];
  const { hostname, port } = new URL(origin.url);
  let received = 0;
  let last = "";
  const ended = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data(_socket, data) {
        received += data.length;
        last = (last + data.toString()).slice(-200);
      },
      close: () => ended.resolve(),
      end: () => ended.resolve(),
      error: () => ended.resolve(),
    },
  });
  socket.pause();
  socket.write(
    `GET ${streamPath} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${ben.token}\r\n\r\n`,
  );
  await Bun.sleep(200);
  const other = await listen(ben.token);
  const large = "🎬".repeat(1000);
  let sent = 0;
  while (sent < 4_000) {
    await Promise.all(Array.from({ length: 100 }, () => send(ann, ben, large)));
    sent += 100;
    await until(() => other.events.length === sent);
  }
  socket.resume();
  await ended.promise;
  expect(last).toContain(": more than 1048576 bytes wait to be read: reconnect");
  expect(received).toBeLessThan(sent * large.length * 2);
  await other.close();
}, 60_000);

test("a quiet stream has a heartbeat, and ends when its time is over", async () => {
  const log = createLog({ program: "origin", write: () => {} });
  const live = readLiveMessages({ events, nodeId: 8, log });
  const token = { userId: 1, jti: "any", generation: 0, expiresAt: Infinity };
  const identities = {
    viewer: () => Promise.resolve(token),
    hasEnded: () => false,
    service: () => Promise.resolve(null),
  };
  const limits = { heartbeatMs: 50, lifetimeMs: 175, streams: 2 };
  const streams = createMessageStreams({ db: origin.db, log, now: Date.now }, { identities, live, limits });
  const ask = () => streams.handle(new Request(addressOf({}).href, { headers: { authorization: "Bearer any" } }));
  const [one, other, refused] = [await ask(), await ask(), await ask()];
  expect(refused.status).toBe(503);
  const quiet = /^retry: 1000\n: connected\n\n(: alive\n\n)+: this stream has lasted long enough: reconnect\n\n$/;
  for (const response of [one, other]) expect(await response.text()).toMatch(quiet);
  expect((await ask()).status).toBe(200);
  streams.close();
  await live.close();
});

test("without the event log streams still bring what is in the database, and nothing else suffers", async () => {
  const other = await startTestOrigin({ REDIS_URL: "redis://127.0.0.1:1", NODE_ID: "9" });
  const [ann, ben] = [await other.signUp(), await other.signUp()];
  await other.as(ann.token).message.sendMessage({ toUserId: BigInt(ben.userId), content: "hello" });
  const stream = await openEventStream(`${other.url}${streamPath}?since=1`, { authorization: `Bearer ${ben.token}` });
  await until(() => stream.events.length === 1);
  await stream.close();
  await other.stop();
});

test("streams end with a word when the service stops, and do not hold it up", async () => {
  const other = await startTestOrigin({ REDIS_URL: redis.url, NODE_ID: "7" });
  const { userId, token } = await other.signUp();
  expect(userId).toBeGreaterThan(0);
  const response = await fetch(`${other.url}${streamPath}`, { headers: { authorization: `Bearer ${token}` } });
  const before = Date.now();
  const [text] = await Promise.all([response.text(), other.stop()]);
  expect(text).toEndWith(": the service is stopping: reconnect\n\n");
  expect(Date.now() - before).toBeLessThan(3_000);
});
