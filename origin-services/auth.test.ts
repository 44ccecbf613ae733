import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { tokenRevocations } from "@flick/db/schema/token-revocation.ts";
import { openEventStream } from "@flick/dev/event-stream.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { decodeRevocation, revocationsKey } from "@flick/platform/access-token/revocations.ts";
import { createAuthority, forgeries } from "@flick/platform/access-token/testing.ts";
import { databaseOf } from "@flick/platform/cdc/env.ts";
import { createBinlogTailer } from "@flick/platform/cdc/tailer.ts";
import { createRedisStreamsEventLog } from "@flick/platform/event-log/redis-streams.ts";
import { createLog } from "@flick/platform/log.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { streamPath } from "@flick/proto/stream.ts";
import { RedisClient } from "bun";
import { decodeProtectedHeader } from "jose";

import { outcome } from "./testing-data.ts";
import { startTestOrigin, testServiceSecret, type TestOrigin } from "./testing.ts";
import { rotateRing, removeFromRing } from "./user/key-ring.ts";
import { sweepRevocations } from "./user/logout.ts";

setDefaultTimeout(60_000);

const ours = await createAuthority("ours");
let dir: string;
let keyFile: string;
let origin: TestOrigin;
/** Another process on the same database. */
let second: TestOrigin;
/** One that does not serve users, and so has no keys of its own. */
let third: TestOrigin;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-auth-"));
  keyFile = join(dir, "jwt.json");
  await writeFile(keyFile, ours.privateKeyFile);
  origin = await startTestOrigin({ JWT_PRIVATE_KEY_FILE: keyFile });
  const shared = { MYSQL_URL: origin.mysqlUrl, REDIS_URL: origin.redisUrl };
  second = await startTestOrigin({ ...shared, JWT_PRIVATE_KEY_FILE: keyFile, NODE_ID: "1" });
  third = await startTestOrigin({
    ...shared,
    SERVICES: "video",
    JWT_PRIVATE_KEY_FILE: "",
    NODE_ID: "2",
    ...Object.fromEntries(
      ["USER", "FAVORITE", "COMMENT", "RELATION", "MESSAGE"].map((name) => [`${name}_SERVICE_URL`, origin.url]),
    ),
  });
});
afterAll(async () => {
  await third.stop();
  await second.stop();
  await origin.stop();
  await rm(dir, { recursive: true });
});

const signIn = async (name: string) =>
  (await origin.as().user.login({ username: name, password: "a good password" })).token;
const profile = (token: string, by = origin) => outcome(by.as(token).user.getUser({}));
const works = (token: string) => outcome(third.as(token).video.listPublished({}));

/** How many milliseconds pass until a call comes to something. */
async function until(call: () => Promise<string>, result: string): Promise<number> {
  const began = Date.now();
  while ((await call()) !== result) {
    if (Date.now() - began > 20_000) throw new Error(`it never came to ${result}`);
    await Bun.sleep(20);
  }
  return Date.now() - began;
}

describe("an origin", () => {
  test("takes a token of ours for its user", async () => {
    const { userId } = await origin.signUp();
    const { user } = await origin.as(await ours.issue({ userId })).user.getUser({});
    expect(user?.id).toBe(BigInt(userId));
    expect(await works(await ours.issue({ userId }))).toBe("ok");
  });

  test.each(Object.entries(forgeries(ours, testServiceSecret)))("refuses a token with %s", async (_what, forge) => {
    const token = await forge();
    expect(await profile(token)).toBe("UNAUTHENTICATED");
    expect(await works(token)).toBe("UNAUTHENTICATED");
    expect(await outcome(origin.as(token).video.getFeed({}))).toBe("UNAUTHENTICATED");
    const form = new FormData();
    form.append("title", "x");
    form.append("data", new Blob(["x"]), "a.mp4");
    expect((await origin.upload(form, { token })).status).toBe(401);
    const stream = await fetch(`${origin.url}${streamPath}`, { headers: { authorization: `Bearer ${token}` } });
    expect(stream.status).toBe(401);
  });

  test.each(["x-viewer", "x-viewer-id", "x-user-id", "x-flick-viewer", "x-auth-request-user", "x-forwarded-user"])(
    "does not believe whom the header %s names",
    async (name) => {
      const { userId } = await origin.signUp();
      const add: Interceptor = (next) => (request) => {
        request.header.set(name, String(userId));
        return next(request);
      };
      const transport = createGrpcWebTransport({ baseUrl: origin.url, interceptors: [add] });
      expect(await outcome(createClient(UserService, transport).getUser({}))).toBe("UNAUTHENTICATED");
    },
  );

  test("publishes its keys, and nothing private", async () => {
    const answer = await fetch(`${origin.url}${publicKeysPath}`);
    expect(answer.headers.get("content-type")).toBe("application/jwk-set+json");
    expect(await answer.json()).toEqual({ keys: [ours.publicJwk] });
    expect((await fetch(`${origin.url}${publicKeysPath}`, { method: "POST" })).status).toBe(405);
    expect((await fetch(`${third.url}${publicKeysPath}`)).status).toBe(404);
  });
});

describe("logging out", () => {
  test("ends one token at once where it happens, and everywhere within five seconds", async () => {
    const { token, name } = await origin.signUp();
    const other = await signIn(name);
    // Remembered by each of them.
    expect([await profile(token), await profile(token, second), await works(token)]).toEqual(["ok", "ok", "ok"]);
    await origin.as(token).user.logout({});
    expect(await profile(token)).toBe("UNAUTHENTICATED");
    const took = await Promise.all([
      until(() => profile(token, second), "UNAUTHENTICATED"),
      until(() => works(token), "UNAUTHENTICATED"),
    ]);
    expect(Math.max(...took)).toBeLessThan(5_000);
    expect(await outcome(origin.as(token).user.logout({}))).toBe("UNAUTHENTICATED");
    expect([await profile(other), await profile(other, second)]).toEqual(["ok", "ok"]);
  });

  test("everywhere ends every token that was issued before, and none that is issued at the same moment", async () => {
    const { token, name } = await origin.signUp();
    const stranger = await origin.signUp();
    const tokens = [token, await signIn(name), await signIn(name)];
    for (const each of tokens) expect([await profile(each, second), await works(each)]).toEqual(["ok", "ok"]);
    for (let round = 0; round < 3; round++) {
      await origin.as(await signIn(name)).user.logoutEverywhere({});
      const next = await signIn(name);
      expect([await profile(next), await profile(next, second), await works(next)]).toEqual(["ok", "ok", "ok"]);
    }
    for (const each of tokens) {
      expect(await profile(each)).toBe("UNAUTHENTICATED");
      expect(await until(() => profile(each, second), "UNAUTHENTICATED")).toBeLessThan(5_000);
      expect(await until(() => works(each), "UNAUTHENTICATED")).toBeLessThan(5_000);
    }
    expect(await profile(stranger.token, second)).toBe("ok");
  });

  test("holds at an origin that starts afterwards", async () => {
    const { token } = await origin.signUp();
    await origin.as(token).user.logout({});
    const late = await startTestOrigin({
      MYSQL_URL: origin.mysqlUrl,
      REDIS_URL: origin.redisUrl,
      JWT_PRIVATE_KEY_FILE: keyFile,
      NODE_ID: "3",
    });
    expect(await profile(token, late)).toBe("UNAUTHENTICATED");
    await late.stop();
  });

  test("works without Redis", async () => {
    const lonely = await startTestOrigin({
      MYSQL_URL: origin.mysqlUrl,
      REDIS_URL: "redis://127.0.0.1:1",
      JWT_PRIVATE_KEY_FILE: keyFile,
      NODE_ID: "4",
    });
    const { token } = await origin.signUp();
    expect(await profile(token, lonely)).toBe("ok");
    await lonely.as(token).user.logout({});
    expect(await profile(token, lonely)).toBe("UNAUTHENTICATED");
    expect(await until(() => profile(token), "UNAUTHENTICATED")).toBeLessThan(5_000);
    await lonely.stop();
  });

  test("ends the token's live streams and no others, as their expiry does", async () => {
    const { token, userId, name } = await origin.signUp();
    const other = await signIn(name);
    const nowS = Math.floor(Date.now() / 1000);
    const short = await ours.sign({ sub: String(userId), exp: nowS + 3 });
    const open = (each: string) => openEventStream(`${second.url}${streamPath}`, { authorization: `Bearer ${each}` });
    const [mine, kept, expiring] = await Promise.all([open(token), open(other), open(short)]);
    await origin.as(token).user.logout({});
    const began = Date.now();
    await Promise.all([mine.ended, expiring.ended]);
    expect(Date.now() - began).toBeLessThan(5_000);
    expect(mine.comments.at(-1)).toContain("not valid any more");
    expect(expiring.comments.at(-1)).toContain("not valid any more");
    expect(await Promise.race([kept.ended.then(() => "ended"), Bun.sleep(100).then(() => "open")])).toBe("open");
    await kept.close();
  });

  test("is told to the edge after the commit, and again by the change log, without the token", async () => {
    const redis = new RedisClient(origin.redisUrl);
    const log = createLog({ program: "cdc", write: () => {} });
    const events = createRedisStreamsEventLog({ url: origin.redisUrl, log });
    const { mysqlUrl } = origin;
    const database = databaseOf(mysqlUrl);
    const tailer = createBinlogTailer({ mysqlUrl, database, eventLog: events, log, serverId: 30_097 });
    while (!tailer.status().reading) await Bun.sleep(20);
    const told = async () =>
      ((await redis.send("ZRANGE", [revocationsKey, "0", "-1"])) as string[]).map((member) => decodeRevocation(member));
    const { token, userId } = await origin.signUp();
    await origin.as(token).user.logoutEverywhere({});
    const revocation = (await told()).at(-1);
    expect(revocation).toMatchObject({ userId, jti: "", generation: 1 });
    const before = (await told()).length;
    while ((await events.last("cdc.token_revocations"))?.value.includes(String(userId)) !== true) await Bun.sleep(20);
    while ((await events.lag("cdc.token_revocations", "cache")) > 0) await Bun.sleep(20);
    expect(await told()).toHaveLength(before);
    // As if Redis had been away when the database committed.
    await redis.del(revocationsKey);
    const again = await events.last("cdc.token_revocations");
    expect(again?.value).not.toContain(token.split(".")[2] ?? "?");
    await events.publish([{ topic: "cdc.token_revocations", key: again?.key ?? "", value: again?.value ?? "" }]);
    while ((await told()).length === 0) await Bun.sleep(20);
    expect(await told()).toEqual([revocation ?? null]);
    await tailer.stop();
    await events.close();
    redis.close();
  });

  test("is forgotten by the database an hour after the tokens have expired", async () => {
    const now = Date.now();
    const row = { userId: 1, jti: "a", generation: 0 };
    const old = Array.from({ length: 2_500 }, (_, id) => ({ ...row, id, expiresAt: now - 3_600_001 }));
    await origin.db.insert(tokenRevocations).values([...old, { ...row, id: 5_000, expiresAt: now - 3_600_000 }]);
    expect(await sweepRevocations({ db: origin.db, now: () => now })).toBe(2_500);
    expect(await sweepRevocations({ db: origin.db, now: () => now })).toBe(0);
  });
});

describe("rotating the keys", () => {
  const kidOf = (token: string) => decodeProtectedHeader(token).kid;

  test("changes what signs, while everything that was signed stays good until its key is gone", async () => {
    const { token: old, name } = await origin.signUp();
    expect([await profile(old), await works(old)]).toEqual(["ok", "ok"]);
    const announced = await rotateRing(keyFile, { tokenLifetimeMs: 600_000, signsAfterMs: 1_000_000 });
    const isPublished = async () =>
      String((await (await fetch(`${origin.url}${publicKeysPath}`)).text()).includes(announced));
    await until(isPublished, "true");
    expect(kidOf(await signIn(name))).toBe("ours");
    const kid = await rotateRing(keyFile, { tokenLifetimeMs: 600_000, signsAfterMs: 0 });
    await until(async () => kidOf(await signIn(name)) ?? "", kid);
    const fresh = await signIn(name);
    // At once, although neither of the others has ever seen this key.
    expect([await profile(fresh, second), await works(fresh)]).toEqual(["ok", "ok"]);
    expect([await profile(old), await profile(old, second), await works(old)]).toEqual(["ok", "ok", "ok"]);
    await removeFromRing(keyFile, "ours");
    await until(() => profile(old), "UNAUTHENTICATED");
    await until(() => profile(old, second), "UNAUTHENTICATED");
    expect(await profile(fresh, second)).toBe("ok");
  });

  test("survives a file that cannot be read", async () => {
    const { name } = await origin.signUp();
    const good = await Bun.file(keyFile).text();
    await writeFile(keyFile, "rubbish");
    const hasNoticed = async () => {
      await profile(await signIn(name));
      return String(origin.logged.some((line) => line.includes("last keys go on")));
    };
    await until(hasNoticed, "true");
    expect(await profile(await signIn(name))).toBe("ok");
    await writeFile(keyFile, good);
    expect(await profile(await signIn(name))).toBe("ok");
  });
});

test("an origin that cannot have the keys cannot judge tokens, and does the rest", async () => {
  const alone = await startTestOrigin({
    SERVICES: "video",
    JWT_PRIVATE_KEY_FILE: "",
    ...Object.fromEntries(
      ["USER", "FAVORITE", "COMMENT", "RELATION", "MESSAGE"].map((name) => [
        `${name}_SERVICE_URL`,
        "http://127.0.0.1:1",
      ]),
    ),
  });
  expect(await outcome(alone.as(await ours.issue()).video.getFeed({}))).toBe("UNAVAILABLE");
  expect(await outcome(alone.as("rubbish").video.getFeed({}))).toBe("UNAUTHENTICATED");
  expect(await outcome(alone.as().video.getFeed({}))).toBe("ok");
  await alone.stop();
});
