import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { ApiError, type ApiCursor, type ApiVideo } from "@flick/dev/api-client.ts";

import { atFullSpeed, ffmpeg, runStack, type RunningStack } from "./running-stack.ts";

type Person = Awaited<ReturnType<RunningStack["signUp"]>>;

interface Page {
  video_list?: { id: number }[];
  user_list?: { id: number }[];
  comment_list?: { id: number }[];
  next_cursor: number;
  has_more: boolean;
}

let flick: RunningStack;
/** Who published everything here. */
let author: Person;
/** Ready, oldest first. Each test counts from where it finds them. */
let videos: number[];
let failedVideo: number;
let deletedVideo: number;

beforeAll(async () => {
  flick = await runStack({ gateway: atFullSpeed });
  author = await flick.signUp();
  const path = join(flick.dir, "clip.mp4");
  await ffmpeg("-f", "lavfi", "-i", "testsrc2=size=180x320:rate=10", "-t", "1", "-pix_fmt", "yuv420p", path);
  const clip = Bun.file(path);
  const published: number[] = [];
  for (const title of ["one", "two", "three", "to be deleted"]) {
    published.push((await flick.api.publish(author.token, title, clip)).video_id);
  }
  const half = await flick.api.publish(author.token, "half of it", clip.slice(0, clip.size / 2));
  for (const id of [...published, half.video_id]) await flick.settled(author.token, id);
  failedVideo = half.video_id;
  deletedVideo = published.pop() ?? 0;
  await flick.api.deleteVideo(author.token, deletedVideo);
  videos = published;
  await flick.feedIs((feed) => Bun.deepEquals(ids(feed), videos.toReversed()));
}, 180_000);
afterAll(() => flick.stop(), 30_000);

const idOf = (index: number) => videos[index] ?? 0;
const ids = (list: { id: number }[]) => list.map(({ id }) => id);
const profile = async (of: Person, seenBy = of) => (await flick.api.user(seenBy.token, of.user_id)).user;

/** As somebody who is signed in sees it: everybody else's feed may be a moment old. */
async function inFeed(id: number, token = author.token): Promise<ApiVideo | undefined> {
  const { video_list: list } = await flick.api.feed({ token });
  return list.find((video) => video.id === id);
}

const people = (count: number) => Promise.all(Array.from({ length: count }, () => flick.signUp()));

/** The status code that a call was refused with; 0 when it was not. */
const refusal = (call: Promise<unknown>) =>
  call.then(
    () => 0,
    (error: unknown) => {
      if (!(error instanceof ApiError)) throw error;
      expect(error.httpStatus).toBe(200);
      return error.statusCode;
    },
  );

describe("what clients rely on", () => {
  test("a like is in the list and in every count by the next request, and only on the video that was liked", async () => {
    const [fan] = (await people(1)) as [Person];
    const before = await profile(author);
    const [counted, other] = [await inFeed(idOf(0)), await inFeed(idOf(1))];
    await flick.api.favorite(fan.token, idOf(0), 1);
    expect(ids((await flick.api.favoriteList(fan.token)).video_list)).toEqual([idOf(0)]);
    const liked = await inFeed(idOf(0), fan.token);
    expect(liked).toMatchObject({ is_favorite: true, favorite_count: (counted?.favorite_count ?? 0) + 1 });
    expect(await inFeed(idOf(1), fan.token)).toMatchObject({
      is_favorite: false,
      favorite_count: other?.favorite_count ?? -1,
    });
    expect(await profile(fan)).toMatchObject({ favorite_count: 1, total_favorited: 0 });
    expect(await profile(author, fan)).toMatchObject({ total_favorited: before.total_favorited + 1 });
  });

  test("a like can be taken back and given again, and repeating either changes nothing", async () => {
    const [fan] = (await people(1)) as [Person];
    const before = (await inFeed(idOf(0)))?.favorite_count ?? 0;
    for (const [action, holds] of [
      [1, true],
      [1, true],
      [2, false],
      [2, false],
      [1, true],
    ] as const) {
      await flick.api.favorite(fan.token, idOf(0), action);
      const video = await inFeed(idOf(0), fan.token);
      expect(video).toMatchObject({ is_favorite: holds, favorite_count: before + Number(holds) });
      expect((await flick.api.favoriteList(fan.token)).video_list).toHaveLength(Number(holds));
    }
  });

  test("the latest like is first in the list", async () => {
    const [fan] = (await people(1)) as [Person];
    for (const index of [1, 0, 2]) await flick.api.favorite(fan.token, idOf(index), 1);
    expect(ids((await flick.api.favoriteList(fan.token)).video_list)).toEqual([idOf(2), idOf(0), idOf(1)]);
  });

  test("a comment is in the list at once, newest first, and counted on its video alone", async () => {
    const [writer] = (await people(1)) as [Person];
    const before = [await inFeed(idOf(0)), await inFeed(idOf(1))].map((video) => video?.comment_count ?? 0);
    const { comment: first } = await flick.api.comment(writer.token, idOf(0), "  first 🎬 ");
    const { comment: second } = await flick.api.comment(writer.token, idOf(0), "second");
    expect(first).toMatchObject({ content: "first 🎬", user: { id: writer.user_id, name: writer.name } });
    expect(first.create_date).toBe(new Date(first.create_time).toISOString().slice(5, 10));
    const { comment_list: list } = await flick.api.commentList(idOf(0));
    expect(ids(list).slice(0, 2)).toEqual([second.id, first.id]);
    const after = [await inFeed(idOf(0)), await inFeed(idOf(1))].map((video) => video?.comment_count ?? 0);
    expect(after).toEqual([(before[0] ?? 0) + 2, before[1] ?? 0]);
  });

  test("its author and the video's author delete a comment, and nobody else", async () => {
    const [writer, stranger] = (await people(2)) as [Person, Person];
    const video = idOf(1);
    for (const deleter of [writer, author]) {
      const { comment } = await flick.api.comment(writer.token, video, "to be deleted");
      expect(await refusal(flick.api.deleteComment(stranger.token, video, comment.id))).toBe(40002);
      expect(ids((await flick.api.commentList(video)).comment_list)).toContain(comment.id);
      expect((await flick.api.deleteComment(deleter.token, video, comment.id)).comment).toMatchObject({ content: "" });
      expect(ids((await flick.api.commentList(video)).comment_list)).not.toContain(comment.id);
      expect(await refusal(flick.api.deleteComment(deleter.token, video, comment.id))).toBe(0);
    }
  });

  test("a follow is in both lists, and in no other, at once", async () => {
    const [ann, ben, cyd] = (await people(3)) as [Person, Person, Person];
    await flick.api.follow(ann.token, ben.user_id, 1);
    await flick.api.follow(cyd.token, ann.user_id, 1);
    const { user_list: followed } = await flick.api.followList(ann.token);
    const { user_list: followers } = await flick.api.followerList(ann.token);
    expect(followed).toMatchObject([{ id: ben.user_id, is_follow: true, follower_count: 1, follow_count: 0 }]);
    expect(followers).toMatchObject([{ id: cyd.user_id, is_follow: false, follower_count: 0, follow_count: 1 }]);
    // Seen by somebody else they are the same people, but followed by other eyes.
    expect((await flick.api.followList(cyd.token, ann.user_id)).user_list).toMatchObject([
      { id: ben.user_id, is_follow: false },
    ]);
    expect(await profile(ann)).toMatchObject({ follow_count: 1, follower_count: 1 });
    for (const action of [1, 2, 2] as const) await flick.api.follow(ann.token, ben.user_id, action);
    expect((await flick.api.followList(ann.token)).user_list).toEqual([]);
    expect((await flick.api.followerList(ben.token)).user_list).toEqual([]);
    expect(await profile(ben)).toMatchObject({ follower_count: 0, is_follow: false });
  });

  test("friends follow each other, and show the latest message from the caller's side", async () => {
    const [ann, ben, cyd] = (await people(3)) as [Person, Person, Person];
    for (const [from, to] of [
      [ann, ben],
      [ben, ann],
      [ann, cyd],
    ] as const)
      await flick.api.follow(from.token, to.user_id, 1);
    const friendsOf = async (person: Person) => (await flick.api.friendList(person.token)).user_list;
    expect(await friendsOf(ann)).toMatchObject([{ id: ben.user_id, message: "", msgType: 0, is_follow: true }]);
    expect(await friendsOf(cyd)).toEqual([]);
    await flick.api.sendMessage(ann.token, ben.user_id, "hello");
    expect(await friendsOf(ann)).toMatchObject([{ message: "hello", msgType: 1 }]);
    expect(await friendsOf(ben)).toMatchObject([{ id: ann.user_id, message: "hello", msgType: 0 }]);
  });

  test("the feed works for nobody, and is the caller's own with a token", async () => {
    const [fan] = (await people(1)) as [Person];
    await flick.api.follow(fan.token, author.user_id, 1);
    await flick.api.favorite(fan.token, idOf(2), 1);
    const everybodys = (await flick.api.feed()).video_list.find(({ id }) => id === idOf(2));
    expect(everybodys).toMatchObject({ is_favorite: false, author: { is_follow: false } });
    expect(await inFeed(idOf(2), fan.token)).toMatchObject({ is_favorite: true, author: { is_follow: true } });
    expect(await inFeed(idOf(2), author.token)).toMatchObject({ is_favorite: false, author: { is_follow: false } });
  });

  test("next_time leads through the feed to its end, each video once", async () => {
    const seen: number[] = [];
    let latestTime: number | undefined;
    for (let page = 0; page <= videos.length; page++) {
      const feed = await flick.api.feed({ count: 1, ...(latestTime === undefined ? {} : { latestTime }) });
      seen.push(...ids(feed.video_list));
      latestTime = feed.next_time;
    }
    expect(seen).toEqual(videos.toReversed());
  });

  test("every list is walked by its cursor, each thing once", async () => {
    const [hub, ...others] = (await people(5)) as [Person, ...Person[]];
    for (const index of [0, 1, 2]) await flick.api.favorite(hub.token, idOf(index), 1);
    for (const other of others) {
      await flick.api.follow(hub.token, other.user_id, 1);
      await flick.api.follow(other.token, hub.user_id, 1);
      await flick.api.comment(hub.token, idOf(2), `for ${other.name}`);
    }
    const { api } = flick;
    const commented = (await api.commentList(idOf(2))).comment_list.length;
    const walks: [number, (page: ApiCursor) => Promise<Page>][] = [
      [3, (page) => api.favoriteList(hub.token, undefined, page)],
      [4, (page) => api.followList(hub.token, undefined, page)],
      [4, (page) => api.followerList(hub.token, undefined, page)],
      [4, (page) => api.friendList(hub.token, undefined, page)],
      [commented, (page) => api.commentList(idOf(2), page)],
    ];
    for (const [total, pageAt] of walks) {
      const seen: number[] = [];
      for (let cursor = 0, more = true; more;) {
        const page = await pageAt({ cursor, count: 1 });
        const list = page.video_list ?? page.user_list ?? page.comment_list ?? [];
        expect(list).toHaveLength(1);
        seen.push(...ids(list));
        [cursor, more] = [page.next_cursor, page.has_more];
      }
      expect(seen).toHaveLength(total);
      expect(new Set(seen).size).toBe(total);
    }
  });

  test("nobody follows or messages themselves", async () => {
    expect(await refusal(flick.api.follow(author.token, author.user_id, 1))).toBe(50001);
    expect(await refusal(flick.api.sendMessage(author.token, author.user_id, "me"))).toBe(50002);
  });
});

test("counts are exact when many act at once, over and over, on the same things", async () => {
  const crowd = await people(12);
  const [star] = (await people(1)) as [Person];
  const [likes, comments] = [await inFeed(idOf(0)), await inFeed(idOf(0))];
  const total = (await profile(author)).total_favorited;
  await Promise.all(
    crowd.map(async ({ token }, index) => {
      for (const action of [1, 2, 1, 1, 2, 1] as const) {
        await Promise.all([
          flick.api.favorite(token, idOf(0), action),
          flick.api.favorite(token, idOf(0), action),
          flick.api.follow(token, star.user_id, action),
        ]);
      }
      const { comment } = await flick.api.comment(token, idOf(0), "here");
      if (index % 2 === 0) {
        const gone = () => flick.api.deleteComment(token, idOf(0), comment.id);
        await Promise.all([
          gone(),
          gone(),
          flick.api.favorite(token, idOf(0), 2),
          flick.api.follow(token, star.user_id, 2),
        ]);
      }
    }),
  );
  const stay = crowd.length / 2;
  expect(await inFeed(idOf(0))).toMatchObject({
    favorite_count: (likes?.favorite_count ?? 0) + stay,
    comment_count: (comments?.comment_count ?? 0) + stay,
  });
  expect((await profile(author)).total_favorited).toBe(total + stay);
  expect((await profile(star)).follower_count).toBe(stay);
  expect((await flick.api.followerList(star.token)).user_list).toHaveLength(stay);
});

describe.each(["not there", "failed", "deleted"])("a video that is %s", (which) => {
  const video = () => ({ "not there": 123_456_789, failed: failedVideo, deleted: deletedVideo })[which] ?? 0;

  test("is neither liked nor commented on, nor in any list", async () => {
    const [fan] = (await people(1)) as [Person];
    expect(await refusal(flick.api.favorite(fan.token, video(), 1))).toBe(30003);
    expect(await refusal(flick.api.comment(fan.token, video(), "?"))).toBe(30003);
    expect(await refusal(flick.api.favorite(fan.token, video(), 2))).toBe(0);
    expect((await flick.api.favoriteList(fan.token)).video_list).toEqual([]);
    expect((await flick.api.commentList(video())).comment_list).toEqual([]);
    expect(await inFeed(video())).toBeUndefined();
  });
});
