/**
 * How many likes, comments and messages a second one origin writes, with each commit on the disk before it is acknowledged:
 *
 *     bun bench/likes.ts [seconds]
 *
 * Likes are measured spread over 1 000 videos and all on one, at 128 and at 512 in flight, three ways one after the other on the same server:
 * `alone`, a transaction of its own for each like, with the same three counters; `shared`, the favorite service's own method; and `called`, the
 * same through an in-process RPC. Each run takes `seconds` (default 1.5) and half a second to warm up. Ends by counting all counters again.
 */
import { create } from "@bufbuild/protobuf";
import { migrate } from "@flick/db/migrate.ts";
import { users } from "@flick/db/schema/user.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { reconcile } from "@flick/origin-services/reconcile.ts";
import { CreateCommentRequestSchema } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { SetFavoriteRequestSchema } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { SendMessageRequestSchema } from "@flick/proto/gen/flick/message/v1/message_pb.ts";

import { createLoneLikes } from "./lone-likes.ts";
import { measure, type Measured } from "./load.ts";
import { startDurableServers } from "./servers.ts";
import { createServices, type Services } from "./services.ts";

const videoCount = 1_000;
const userCount = 2_000;
const firstVideo = 10_000;
const firstUser = 1_000_000;

/** Likes a second of the trial that this design began with: same settings, same kind of machine. */
const trial: Record<string, number> = { "spread 128": 10_773, "one video 128": 12_181, "spread 512": 29_269 };

/** Every pair is a new one, over all runs. */
let pairsMade = 0;

const seconds = Number(process.argv[2] ?? 1.5);
const servers = await startDurableServers();
try {
  await migrate(servers.mysqlUrl);
  const services = createServices(servers);
  await fill(services);
  for (const inFlight of [128, 512]) {
    await compareLikes(services, "spread", inFlight, (n) => firstVideo + (n % videoCount));
    await compareLikes(services, "one video", inFlight, () => firstVideo);
  }
  await writeOthers(services);
  const drift = (await reconcile(services.db)).filter(({ drifted }) => drifted > 0);
  print(drift.length === 0 ? "every counter equals its rows" : `DRIFT: ${JSON.stringify(drift)}`);
  await services.close();
} finally {
  await servers.stop();
}

/** A new pair each time, over all runs. */
function createPairs(videoOf: (n: number) => number): () => { userId: number; videoId: number } {
  return () => {
    const n = pairsMade++;
    return { userId: firstUser + n, videoId: videoOf(n) };
  };
}

async function compareLikes(
  { favorite, clients, callOf, as }: Services,
  name: string,
  inFlight: number,
  videoOf: (n: number) => number,
): Promise<void> {
  const nextPair = createPairs(videoOf);
  const lone = createLoneLikes(servers.mysqlUrl, { connections: inFlight, authorOf });
  const alone = await measure({ inFlight, seconds, act: () => lone.like(nextPair()) });
  await lone.close();
  const shared = await measure({
    inFlight,
    seconds,
    act() {
      const { userId, videoId } = nextPair();
      const request = create(SetFavoriteRequestSchema, { videoId: BigInt(videoId), favorite: true });
      return Promise.resolve(favorite.setFavorite(request, callOf(userId)));
    },
  });
  const called = await measure({
    inFlight,
    seconds,
    act() {
      const { userId, videoId } = nextPair();
      return clients.favorite.setFavorite({ videoId: BigInt(videoId), favorite: true }, as(userId));
    },
  });
  const title = `${name} ${inFlight}`;
  print(`likes, ${title} in flight`);
  report("alone", alone);
  report("shared", shared, `${(shared.rate / alone.rate).toFixed(1)} times alone${ofTrial(title, shared)}`);
  report("called", called, `${(called.rate / alone.rate).toFixed(1)} times alone`);
}

async function writeOthers({ comment, message, callOf }: Services): Promise<void> {
  for (const inFlight of [128, 512]) {
    print(`others, ${inFlight} in flight`);
    const comments = await measure({
      inFlight,
      seconds: seconds / 2,
      act(n) {
        const videoId = BigInt(firstVideo + (n % videoCount));
        const request = create(CreateCommentRequestSchema, { videoId, content: `comment ${n}` });
        return Promise.resolve(comment.createComment(request, callOf(firstUser + (n % userCount))));
      },
    });
    report("comments", comments);
    const messages = await measure({
      inFlight,
      seconds: seconds / 2,
      act(n) {
        const toUserId = BigInt(firstUser + ((n + 1) % userCount));
        const request = create(SendMessageRequestSchema, { toUserId, content: `message ${n}` });
        return Promise.resolve(message.sendMessage(request, callOf(firstUser + (n % userCount))));
      },
    });
    report("messages", messages);
  }
}

async function fill({ db }: Services): Promise<void> {
  const accounts = Array.from({ length: userCount }, (_, index) => {
    const name = `user ${index}`;
    return { id: firstUser + index, name, nameKey: name, passwordHash: "none", createdAt: 1 };
  });
  await db.insert(users).values(accounts);
  const ids = Array.from({ length: videoCount }, (_, index) => firstVideo + index);
  const ready = ids.map((id) => {
    const keys = { rawKey: "raw", playKey: "play" };
    const times = { createdAt: 1, jobDueAt: 1, feedTime: id };
    return { id, authorId: authorOf(id), title: "video", status: "ready" as const, ...keys, ...times };
  });
  await db.insert(videos).values(ready);
  const authors = [...new Set(ids.map(authorOf))];
  await db.insert(workCounts).values(authors.map((userId) => ({ userId, count: videoCount / authors.length })));
}

function authorOf(videoId: number): number {
  return firstUser + (videoId % 100);
}

function ofTrial(title: string, { rate }: Measured): string {
  const then = trial[title];
  return then === undefined ? "" : `, ${Math.round((100 * rate) / then)} % of the trial's ${then}/s`;
}

function report(name: string, { rate, p50, p99 }: Measured, note = ""): void {
  const figures = `${String(Math.round(rate)).padStart(7)}/s  p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms`;
  print(`  ${name.padEnd(9)} ${figures}  ${note}`.trimEnd());
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
