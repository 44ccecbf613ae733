/**
 * What must hold whatever people do at once: counters equal their rows, and everybody reads back what they wrote.
 *
 * Runs rounds until `INVARIANTS_SECONDS` (default 12) have passed. A failure prints its seed; `INVARIANTS_SEED` runs that one first. The
 * seed decides what each client does; how their calls interleave is up to the machine.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { comments } from "@flick/db/schema/comment.ts";
import { favorites } from "@flick/db/schema/favorite.ts";
import { follows } from "@flick/db/schema/relation.ts";
import { videos as allVideos } from "@flick/db/schema/video.ts";
import { readEnv, whole } from "@flick/platform/env.ts";
import { inArray, ne } from "drizzle-orm";
import * as fc from "fast-check";
import * as v from "valibot";

import type { Clients } from "./clients.ts";
import { reconcile } from "./reconcile.ts";
import { outcome, publishVideo } from "./testing-data.ts";
import { startTestOrigin, type TestOrigin } from "./testing.ts";

const { INVARIANTS_SECONDS: seconds, INVARIANTS_SEED: givenSeed } = readEnv({
  INVARIANTS_SECONDS: v.optional(whole(1, 3_600), "12"),
  INVARIANTS_SEED: v.optional(whole(0, 2 ** 31 - 1)),
});

const people = 8;
const stepsPerRound = 25;
/** Videos that are acted on: so many of the newest that what anybody did to one of them is on the first page of a list. */
const recent = 40;

interface Account {
  userId: number;
  token: string;
}

/** One thing that a client does; `target` picks a person, `thing` a video or a comment of its own among those that there are. */
interface Step {
  kind: "like" | "unlike" | "follow" | "unfollow" | "comment" | "uncomment" | "publish" | "unpublish";
  target: number;
  thing: number;
  /** Times that it is sent at once, as clients with a bad connection do. */
  copies: number;
  /** Which origin each copy goes to first. */
  origin: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof<fc.MaybeWeightedArbitrary<Step["kind"]>[]>(
    { weight: 5, arbitrary: fc.constantFrom("like", "unlike", "follow", "unfollow") },
    { weight: 2, arbitrary: fc.constantFrom("comment", "uncomment") },
    { weight: 1, arbitrary: fc.constantFrom("publish", "unpublish") },
  ),
  target: fc.nat(people - 1),
  thing: fc.nat(99),
  copies: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 4 }) }),
  origin: fc.nat(1),
});

const round = fc.array(fc.array(step, { minLength: stepsPerRound, maxLength: stepsPerRound }), {
  minLength: people,
  maxLength: people,
});

let origins: [TestOrigin, TestOrigin];
let accounts: Account[];
/** Every video that was ever published, deleted ones too. */
const published: { id: bigint; authorId: number }[] = [];
beforeAll(async () => {
  const first = await startTestOrigin();
  const shared = {
    MYSQL_URL: first.mysqlUrl,
    REDIS_URL: first.redisUrl,
    JWT_PRIVATE_KEY_FILE: first.keyFile,
    NODE_ID: "1",
  };
  origins = [first, await startTestOrigin(shared)];
  accounts = await Promise.all(Array.from({ length: people }, () => first.signUp()));
  for (const account of accounts) await publish(account);
});
afterAll(async () => {
  await origins[1].stop();
  await origins[0].stop();
});

async function publish(account: Account): Promise<void> {
  const id = await publishVideo(origins[0], account.userId);
  published.push({ id, authorId: account.userId });
}

/** A client with a memory of what it has done, which is all that it knows to expect. */
function createPerson(me: Account) {
  const myComments: { id: bigint; videoId: bigint }[] = [];
  const through = (origin: number): Clients => (origins[origin % 2] ?? origins[0]).as(me.token);

  return {
    async act({ kind, target, thing, copies, origin }: Step): Promise<void> {
      const video = published[published.length - 1 - (thing % Math.min(published.length, recent))];
      const whom = accounts[target];
      if (!video || !whom) throw new Error("nothing to act on");
      /** Every copy must answer the same: an action that already holds is no failure. */
      const send = async (call: (clients: Clients) => Promise<unknown>) => {
        const answers = await Promise.all(
          Array.from({ length: copies }, (_, copy) => outcome(call(through(origin + copy)))),
        );
        return new Set(answers);
      };
      switch (kind) {
        case "like":
        case "unlike": {
          const favorite = kind === "like";
          const answers = await send((clients) => clients.favorite.setFavorite({ videoId: video.id, favorite }));
          // Its author may delete it at any moment.
          expect(answers.isSubsetOf(new Set(favorite ? ["ok", "VIDEO_NOT_FOUND"] : ["ok"]))).toBe(true);
          if (answers.has("VIDEO_NOT_FOUND")) return;
          const { videos } = await through(origin).favorite.listFavorites({});
          if (videos.some(({ id }) => id === video.id) !== favorite) {
            // Not listed although liked: only because it is gone.
            expect({ favorite, gone: await isGone(video.id) }).toEqual({ favorite: true, gone: true });
          }
          return;
        }
        case "follow":
        case "unfollow": {
          const follow = kind === "follow";
          const answers = await send((clients) => clients.relation.setFollow({ userId: BigInt(whom.userId), follow }));
          expect(answers).toEqual(new Set([whom.userId === me.userId ? "SELF_FOLLOW" : "ok"]));
          if (whom.userId === me.userId) return;
          const { user } = await through(origin).user.getUser({ userId: BigInt(whom.userId) });
          expect(user?.isFollow).toBe(follow);
          return;
        }
        case "comment": {
          const { comment } = through(origin);
          const call = comment.createComment({ videoId: video.id, content: `comment ${thing}` });
          if ((await outcome(call)) === "VIDEO_NOT_FOUND") return;
          const { id: commentId } = (await call).comment ?? { id: 0n };
          expect(commentId).toBeGreaterThan(0n);
          myComments.push({ id: commentId, videoId: video.id });
          const list = await comment.listComments({ videoId: video.id });
          const there = list.comments.some(({ id }) => id === commentId);
          // The video's author may have deleted it already.
          if (!there)
            expect(published.some(({ id, authorId }) => id === video.id && authorId !== me.userId)).toBe(true);
          return;
        }
        case "uncomment": {
          const mine = myComments[thing % Math.max(1, myComments.length)];
          if (!mine) return;
          const answers = await send((clients) =>
            clients.comment.deleteComment({ videoId: mine.videoId, commentId: mine.id }),
          );
          expect(answers).toEqual(new Set(["ok"]));
          const list = await through(origin).comment.listComments({ videoId: mine.videoId });
          expect(list.comments.some(({ id }) => id === mine.id)).toBe(false);
          return;
        }
        case "publish":
          return publish(me);
        case "unpublish": {
          const answers = await send((clients) => clients.video.deleteVideo({ videoId: video.id }));
          expect(answers).toEqual(new Set([video.authorId === me.userId ? "ok" : "VIDEO_NOT_FOUND"]));
          if (video.authorId !== me.userId) return;
          const { videos } = await through(origin).video.listPublished({});
          expect(videos.some(({ id }) => id === video.id)).toBe(false);
          return;
        }
      }
    },
  };
}

async function isGone(videoId: bigint): Promise<boolean> {
  const owner = published.find(({ id }) => id === videoId)?.authorId;
  const { videos } = await origins[0].as(accounts[0]?.token).video.listPublished({ userId: BigInt(owner ?? 0) });
  return !videos.some(({ id }) => id === videoId);
}

const drift = async () => (await reconcile(origins[0].db)).filter(({ drifted }) => drifted > 0);

/** Runs rounds of a seed until the time is over, and gives the seed and what was done. */
async function runRounds(seed: number, endsAt: number): Promise<{ rounds: number }> {
  let rounds = 0;
  const persons = accounts.map(createPerson);
  for (const plans of fc.sample(round, { seed, numRuns: 10_000 / (people * stepsPerRound) })) {
    await Promise.all(
      plans.map(async (plan, index) => {
        for (const each of plan) await persons[index]?.act(each);
      }),
    );
    rounds++;
    expect(await drift()).toEqual([]);
    if (Date.now() > endsAt) break;
  }
  return { rounds };
}

test(
  "whatever eight people do at once through two origins, every counter equals its rows and each reads what they wrote",
  async () => {
    const endsAt = Date.now() + seconds * 1000;
    const firstSeed = givenSeed ?? Math.trunc(Math.random() * 2 ** 31);
    let seed = firstSeed;
    let total = 0;
    do {
      try {
        total += (await runRounds(seed, endsAt)).rounds;
      } catch (error) {
        throw new Error(`INVARIANTS_SEED=${seed}`, { cause: error });
      }
      seed = (seed + 1) % 2 ** 31;
    } while (Date.now() < endsAt);
    expect(total).toBeGreaterThan(0);
    process.stdout.write(`${total} rounds of ${people * stepsPerRound} actions from INVARIANTS_SEED=${firstSeed}\n`);
    // The rounds did something: there is something to count.
    const { db } = origins[0];
    const rows = await Promise.all([favorites, follows, comments].map((table) => db.$count(table)));
    expect(rows.every((count) => count > 0)).toBe(true);
  },
  seconds * 1000 + 30_000,
);

test("doing everything again that holds changes nothing at all", async () => {
  const { db } = origins[0];
  const there = db.select({ id: allVideos.id }).from(allVideos).where(ne(allVideos.status, "deleted"));
  const state = async () =>
    JSON.stringify(
      await Promise.all([
        // Likes of a video that was deleted may be on their way out.
        db
          .select()
          .from(favorites)
          .where(inArray(favorites.videoId, there))
          .orderBy(favorites.userId, favorites.videoId),
        db.select().from(follows).orderBy(follows.followerId, follows.followeeId),
      ]),
    );
  const before = await state();
  const repeat = async (account: Account) => {
    const [one, other] = origins.map((origin): Clients => origin.as(account.token)) as [Clients, Clients];
    const { users } = await one.relation.listFollowing({});
    const { videos } = await one.favorite.listFavorites({});
    await Promise.all([
      ...users.map(({ id }) => other.relation.setFollow({ userId: id, follow: true })),
      ...videos.map(({ id }) => other.favorite.setFavorite({ videoId: id, favorite: true })),
    ]);
  };
  await Promise.all(accounts.map(repeat));
  expect(await state()).toBe(before);
  expect(await drift()).toEqual([]);
});
