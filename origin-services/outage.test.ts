import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startMariadb, type TestServer } from "@flick/dev/testing.ts";

import { reconcile } from "./reconcile.ts";
import { outcome, publishVideo } from "./testing-data.ts";
import { startTestOrigin, type TestOrigin } from "./testing.ts";

const atOnce = 60;

let dir: string;
let mariadb: TestServer;
let origin: TestOrigin;
let fan: { userId: number; token: string };
let star: { userId: number; token: string };
let videoId: bigint;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-outage-"));
  mariadb = await startMariadb({ dir });
  origin = await startTestOrigin({}, { mysqlUrl: mariadb.url });
  [fan, star] = await Promise.all([origin.signUp(), origin.signUp()]);
  videoId = await publishVideo(origin, star.userId);
});
afterAll(async () => {
  await origin.stop();
  await mariadb.stop();
  await rm(dir, { recursive: true });
});

/** An id that nobody has asked for before: what is in the cache can be read without a database. */
let strangers = 900_000;
const stranger = () => BigInt(++strangers);

const everyAction = () => {
  const { favorite, comment, relation, message } = origin.as(fan.token);
  return [
    () => favorite.setFavorite({ videoId, favorite: true }),
    () => favorite.listFavorites({ userId: stranger() }),
    () => comment.createComment({ videoId, content: "x" }),
    () => comment.deleteComment({ videoId, commentId: 1n }),
    () => comment.listComments({ videoId: stranger() }),
    () => relation.setFollow({ userId: BigInt(star.userId), follow: true }),
    () => relation.listFriends({}),
    () => message.sendMessage({ toUserId: BigInt(star.userId), content: "x" }),
    () => message.listMessages({ peerId: stranger() }),
  ] satisfies (() => Promise<unknown>)[];
};

test.each(["stop", "kill"] as const)(
  "without a database (%s) many calls at once all answer UNAVAILABLE soon, and work when it is back",
  async (end) => {
    await Promise.all(everyAction().map((act) => act()));
    await mariadb[end]();
    for (const act of everyAction()) {
      const begun = performance.now();
      const outcomes = await Promise.all(Array.from({ length: atOnce }, () => outcome(act())));
      expect(new Set(outcomes)).toEqual(new Set(["UNAVAILABLE"]));
      expect(performance.now() - begun).toBeLessThan(4_000);
    }
    await mariadb.start();
    expect(await Promise.all(everyAction().map((act) => outcome(act())))).toEqual(everyAction().map(() => "ok"));
  },
);

test("a database that dies while writes are on their way leaves no count that is not true", async () => {
  const writers = Array.from({ length: atOnce }, async (_, index) => {
    await Bun.sleep(index * 2);
    const { favorite, comment } = origin.as(fan.token);
    return outcome(
      index % 2
        ? favorite.setFavorite({ videoId, favorite: index % 4 === 1 })
        : comment.createComment({ videoId, content: "x" }),
    );
  });
  await Bun.sleep(40);
  await mariadb.kill();
  expect(new Set(await Promise.all(writers)).isSubsetOf(new Set(["ok", "UNAVAILABLE"]))).toBe(true);
  await mariadb.start();
  const { favorite } = origin.as(fan.token);
  expect(await outcome(favorite.setFavorite({ videoId, favorite: true }))).toBe("ok");
  expect((await reconcile(origin.db)).filter(({ drifted }) => drifted > 0)).toEqual([]);
});
