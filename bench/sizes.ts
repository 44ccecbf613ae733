/**
 * What things take: bytes of a row in MySQL with its indexes, of its change in the binary log and in the event log, and of a
 * value in Redis. docs/scale.md reckons with them.
 *
 *     bun bench/sizes.ts [actions]
 *
 * By the services themselves, 256 in flight: `actions` (default 20 000) likes, comments, messages and follows, each by somebody else and about
 * somebody or something at random, over as many accounts and a quarter as many videos. The tailer reads along. Then pages of the feed are read by
 * many viewers, so that the cache has every kind of value. Last, the processor time of a login's password.
 */
import { createIdGenerator } from "@flick/db/id.ts";
import { migrate } from "@flick/db/migrate.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos } from "@flick/db/schema/video.ts";
import { createPasswords } from "@flick/origin-services/user/passwords.ts";
import { createBinlogTailer } from "@flick/platform/cdc/tailer.ts";
import type { EventLog, EventRecord } from "@flick/platform/event-log/event-log.ts";
import { createLog } from "@flick/platform/log.ts";
import { RedisClient } from "bun";
import { createPool, type RowDataPacket } from "mysql2/promise";

import { startDurableServers } from "./servers.ts";
import { createServices, type Services } from "./services.ts";

const actions = Number(process.argv[2] ?? 20_000);
const inFlight = 256;
const newId = createIdGenerator(0);
const people = Array.from({ length: actions }, newId);
const clips = Array.from({ length: actions / 4 }, newId);
const begun = Date.now();
const content = "Lovely! Where was that?";

const servers = await startDurableServers();
const mysql = createPool({ uri: servers.mysqlUrl, connectionLimit: 1 });
const redis = new RedisClient(servers.redisUrl);
const published = { records: 0, bytes: 0 };
try {
  await migrate(servers.mysqlUrl);
  const services = createServices(servers);
  const tailer = createBinlogTailer({
    mysqlUrl: servers.mysqlUrl,
    database: new URL(servers.mysqlUrl).pathname.slice(1),
    eventLog: countingLog(),
    log: createLog({ program: "bench", level: "error" }),
    serverId: 4_242,
  });
  await measureWrites(services);
  await tailer.stop();
  await measureTables();
  await measureCache(services);
  await services.close();
  await measurePassword();
} finally {
  redis.close();
  await mysql.end();
  await servers.stop();
}

async function measureWrites({ db, clients: { favorite, comment, message, relation }, as }: Services): Promise<void> {
  print("each", "events", "bytes of events", "bytes of binary log");
  await measureKind("account", people, (ids) => db.insert(users).values(ids.map(account)), 1_000);
  await measureKind("video", clips, (ids) => db.insert(videos).values(ids.map(video)), 1_000);
  await measureKind("like", people, ([id = 0]) =>
    favorite.setFavorite({ videoId: any(clips), favorite: true }, as(id)),
  );
  await measureKind("comment", people, ([id = 0]) => comment.createComment({ videoId: any(clips), content }, as(id)));
  await measureKind("message", people, ([id = 0]) => message.sendMessage({ toUserId: other(id), content }, as(id)));
  await measureKind("follow", people, ([id = 0]) => relation.setFollow({ userId: other(id), follow: true }, as(id)));
}

/** Does something for each id, `size` of them at a time. */
async function measureKind(
  name: string,
  ids: readonly number[],
  act: (ids: number[]) => Promise<unknown>,
  size = 1,
): Promise<void> {
  await caughtUp();
  const before = { ...published, binlog: await binlogBytes() };
  let next = 0;
  const worker = async () => {
    while (next < ids.length) await act(ids.slice(next, (next += size)));
  };
  await Promise.all(Array.from({ length: size > 1 ? 1 : inFlight }, worker));
  await caughtUp();
  const of = (total: number) => (total / ids.length).toFixed(total < 100 * ids.length ? 2 : 0);
  const binlog = (await binlogBytes()) - before.binlog;
  print(name, of(published.records - before.records), of(published.bytes - before.bytes), of(binlog));
}

/** Until the tailer has had nothing new for a while. */
async function caughtUp(): Promise<void> {
  for (let seen = -1; seen !== published.records;) {
    seen = published.records;
    await Bun.sleep(1_500);
  }
}

async function measureTables(): Promise<void> {
  print("\ntable", "rows", "bytes a row", "of them indexes");
  const [tables] = await mysql.query<RowDataPacket[]>("SHOW TABLES");
  for (const table of tables.map((row) => String(Object.values(row)[0]))) {
    await mysql.query(`ANALYZE TABLE ${table}`);
    const [[count]] = await mysql.query<RowDataPacket[]>(`SELECT COUNT(*) AS n FROM ${table}`);
    const [[size]] = await mysql.query<RowDataPacket[]>(
      "SELECT data_length AS data, index_length AS indexes FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
      [table],
    );
    const rows = Number(count?.["n"]);
    const indexes = Number(size?.["indexes"]);
    if (rows >= 1_000)
      print(table, rows, Math.round((Number(size?.["data"]) + indexes) / rows), Math.round(indexes / rows));
  }
}

async function measureCache({ clients, as }: Services): Promise<void> {
  for (let n = 0; n < 200; n++) {
    const viewer = as(people[n] ?? 0);
    await clients.video.getFeed(
      { beforeMs: BigInt(begun - Math.floor(Math.random() * clips.length)), count: 30 },
      viewer,
    );
    await clients.relation.listFollowing({}, viewer);
    await clients.comment.listComments({ videoId: any(clips), count: 30 }, viewer);
  }
  const kinds = new Map<string, { keys: number; bytes: number }>();
  let cursor = "0";
  do {
    const [next, keys] = (await redis.send("SCAN", [cursor, "COUNT", "1000"])) as [string, string[]];
    for (const key of keys) {
      const kind = kinds.get(key.replace(/::.*/, "")) ?? { keys: 0, bytes: 0 };
      kind.keys++;
      kind.bytes += Number(await redis.send("MEMORY", ["USAGE", key]));
      kinds.set(key.replace(/::.*/, ""), kind);
    }
    cursor = next;
  } while (cursor !== "0");
  print("\nin Redis", "keys", "bytes each");
  for (const [kind, { keys, bytes }] of kinds) print(kind, keys, Math.round(bytes / keys));
}

async function measurePassword(): Promise<void> {
  const passwords = createPasswords({ threads: 1 });
  const hash = await passwords.hash(content);
  const before = process.cpuUsage();
  const times = 20;
  for (let n = 0; n < times; n++) await passwords.verify(content, hash);
  const { user, system } = process.cpuUsage(before);
  passwords.close();
  print("\nprocessor time of a login's password", `${((user + system) / times / 1000).toFixed(0)} ms`);
}

/** An event log that keeps nothing but its size. */
function countingLog(): EventLog {
  const none = () => Promise.reject(new Error("nobody reads this log"));
  return {
    publish(records: readonly EventRecord[]) {
      for (const { topic, key, value } of records) {
        if (topic === "cdc.offsets") continue;
        published.records++;
        published.bytes += key.length + Buffer.byteLength(value);
      }
      return Promise.resolve();
    },
    last: () => Promise.resolve(null),
    subscribe: none,
    lag: none,
    groups: none,
    createTopics: none,
    checkTopics: none,
    deadLetters: none,
    replay: none,
    close: () => Promise.resolve(),
  };
}

async function binlogBytes(): Promise<number> {
  const [files] = await mysql.query<RowDataPacket[]>("SHOW BINARY LOGS");
  return files.reduce((sum, file) => sum + Number(file["File_size"]), 0);
}

function any(ids: readonly number[]): bigint {
  return BigInt(ids[Math.floor(Math.random() * ids.length)] ?? 0);
}

/** Somebody else. */
function other(id: number): bigint {
  const found = any(people);
  return found === BigInt(id) ? other(id) : found;
}

function account(id: number): typeof users.$inferInsert {
  const name = `somebody ${id % 1_000_003}`;
  const pictures = { avatar: `users/${id}/${id}-avatar.jpg`, backgroundImage: `users/${id}/${id}-background.jpg` };
  return {
    id,
    name,
    nameKey: name,
    passwordHash: "$2b$10$".padEnd(60, "x"),
    signature: content,
    createdAt: Date.now(),
    ...pictures,
  };
}

/** As long as what is stored of a clip of 720×1280. */
function video(id: number): typeof videos.$inferInsert {
  const key = (file: string) => `videos/${id}/1/${file}`;
  const rendition = (width: number) => [key(`${width}.mp4`), width, (width * 16) / 9, 1_900_000, 3_562_500];
  const cover = (width: number, type: string) => [
    key(`cover-${width}.${type}`),
    width,
    (width * 16) / 9,
    `image/${type}`,
  ];
  const covers = [cover(360, "jpg"), cover(360, "webp"), cover(720, "jpg"), cover(720, "webp")];
  return {
    id,
    authorId: people[id % people.length] ?? 0,
    title: "A day at the lake, with the dog",
    status: "ready",
    rawKey: `raw/${String(id).padStart(16, "0")}-${"x".repeat(22)}`,
    playKey: key("720.mp4"),
    coverKey: key("cover-720.jpg"),
    hlsKey: key("hls.m3u8"),
    previewKey: key("preview.webp"),
    renditions: JSON.stringify([rendition(540), rendition(720)]),
    covers: JSON.stringify(covers),
    thumbhash: "x".repeat(33),
    width: 720,
    height: 1_280,
    durationMs: 15_000,
    sha256: "a".repeat(64),
    createdAt: Date.now(),
    feedTime: begun - clips.indexOf(id),
    jobDueAt: Date.now(),
  };
}

function print(...columns: (string | number)[]): void {
  process.stdout.write(
    `${columns.map((column, index) => (index === 0 ? String(column).padEnd(23) : String(column).padStart(21))).join("")}\n`,
  );
}
