import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { outcome } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";

interface Account {
  userId: number;
  token: string;
  name: string;
}

let origin: TestOrigin;
beforeAll(async () => {
  origin = await startTestOrigin();
});
afterAll(() => origin.stop());

const people = (count: number): Promise<Account[]> => Promise.all(Array.from({ length: count }, () => origin.signUp()));
const set = (who: Account, whom: Account, follow: boolean) =>
  origin.as(who.token).relation.setFollow({ userId: BigInt(whom.userId), follow });
const follow = (who: Account, whom: Account) => set(who, whom, true);
const unfollow = (who: Account, whom: Account) => set(who, whom, false);

const names = (users: { name: string }[]) => users.map((user) => user.name);
const following = async (who: Account) => names((await origin.as(who.token).relation.listFollowing({})).users);
const followers = async (who: Account) => names((await origin.as(who.token).relation.listFollowers({})).users);
const friends = async (who: Account) => (await origin.as(who.token).relation.listFriends({})).friends;

/** A person's profile as another one sees it. */
async function profile(of: Account, viewer: Account) {
  const { user } = await origin.as(viewer.token).user.getUser({ userId: BigInt(of.userId) });
  return { follows: Number(user?.followCount), followers: Number(user?.followerCount), mine: user?.isFollow };
}

describe("a follow", () => {
  test("is in both lists and both counts for the next request, and once however often it is repeated", async () => {
    const [fan, star] = (await people(2)) as [Account, Account];
    for (let times = 0; times < 3; times++) await follow(fan, star);
    expect(await following(fan)).toEqual([star.name]);
    expect(await followers(star)).toEqual([fan.name]);
    expect(await following(star)).toEqual([]);
    expect(await followers(fan)).toEqual([]);
    expect(await profile(star, fan)).toEqual({ follows: 0, followers: 1, mine: true });
    expect(await profile(fan, star)).toEqual({ follows: 1, followers: 0, mine: false });
  });

  test("ends once however often that is repeated, and can begin again", async () => {
    const [fan, star] = (await people(2)) as [Account, Account];
    await follow(fan, star);
    for (let times = 0; times < 3; times++) await unfollow(fan, star);
    expect(await following(fan)).toEqual([]);
    expect(await profile(star, fan)).toEqual({ follows: 0, followers: 0, mine: false });
    await follow(fan, star);
    expect(await followers(star)).toEqual([fan.name]);
    expect(await profile(star, fan)).toEqual({ follows: 0, followers: 1, mine: true });
  });

  test("is the caller's: nobody else sees it as theirs", async () => {
    const [fan, star, other] = (await people(3)) as [Account, Account, Account];
    await follow(fan, star);
    expect((await profile(star, other)).mine).toBe(false);
    const { users } = await origin.as(other.token).relation.listFollowing({ userId: BigInt(fan.userId) });
    expect(users.map((user) => [user.name, user.isFollow])).toEqual([[star.name, false]]);
  });

  test("of oneself is refused, and so is its end", async () => {
    const [narcissus] = (await people(1)) as [Account];
    expect(await outcome(follow(narcissus, narcissus))).toBe("SELF_FOLLOW");
    expect(await outcome(unfollow(narcissus, narcissus))).toBe("SELF_FOLLOW");
    expect(await profile(narcissus, narcissus)).toEqual({ follows: 0, followers: 0, mine: false });
  });

  test.each([0n, -1n, 7n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)])("of nobody (%p) is refused", async (userId) => {
    const [fan] = (await people(1)) as [Account];
    const { relation } = origin.as(fan.token);
    expect(await outcome(relation.setFollow({ userId, follow: true }))).toBe("USER_NOT_FOUND");
    expect(await outcome(relation.setFollow({ userId, follow: false }))).toBe("ok");
    expect((await profile(fan, fan)).follows).toBe(0);
  });
});

describe("follows at once", () => {
  test("of many for one and of one for many are all counted", async () => {
    const [star, ...fans] = (await people(9)) as [Account, ...Account[]];
    await Promise.all([...fans, ...fans, ...fans].flatMap((fan) => [follow(fan, star), follow(star, fan)]));
    expect(await profile(star, star)).toEqual({ follows: 8, followers: 8, mine: false });
    expect(new Set(await followers(star))).toEqual(new Set(names(fans)));
    await Promise.all([...fans, ...fans].map((fan) => unfollow(fan, star)));
    expect(await profile(star, star)).toEqual({ follows: 8, followers: 0, mine: false });
  });

  test.each([true, false])("and their ends, in one batch, end as the last of them says: %p", async (last) => {
    const [fan, star] = (await people(2)) as [Account, Account];
    const calls: Promise<unknown>[] = [];
    for (let index = 0; index <= 20; index++) {
      calls.push(set(fan, star, index % 2 === 0 ? last : !last));
      // Enough for them to arrive in this order, far too little for a commit.
      await Bun.sleep(1);
    }
    await Promise.all(calls);
    expect(await profile(star, fan)).toEqual({ follows: 0, followers: last ? 1 : 0, mine: last });
  });
});

describe("lists", () => {
  test("are latest first, and pages by the cursor meet each once", async () => {
    const [center, ...others] = (await people(6)) as [Account, ...Account[]];
    for (const other of others) {
      await follow(center, other);
      await follow(other, center);
    }
    const { relation } = origin.as(center.token);
    const latestFirst = names(others).toReversed();
    const listings = [
      async (cursor: bigint) => {
        const { users, ...rest } = await relation.listFollowing({ cursor, count: 2 });
        return { page: names(users), ...rest };
      },
      async (cursor: bigint) => {
        const { users, ...rest } = await relation.listFollowers({ cursor, count: 2 });
        return { page: names(users), ...rest };
      },
      async (cursor: bigint) => {
        const answer = await relation.listFriends({ cursor, count: 2 });
        return { page: answer.friends.map(({ user }) => user?.name ?? ""), ...answer };
      },
    ];
    for (const listing of listings) {
      const first = await listing(0n);
      const second = await listing(first.nextCursor);
      const third = await listing(second.nextCursor);
      expect([first, second, third].flatMap(({ page }) => page)).toEqual(latestFirst);
      expect([first, second, third].map(({ hasMore }) => hasMore)).toEqual([true, true, false]);
    }
  });

  test("of somebody else can be seen, with the caller's own follows marked", async () => {
    const [viewer, owner, one, two] = (await people(4)) as [Account, Account, Account, Account];
    for (const whom of [one, two]) await follow(owner, whom);
    await follow(viewer, one);
    const { users } = await origin.as(viewer.token).relation.listFollowing({ userId: BigInt(owner.userId) });
    expect(users.map((user) => [user.name, user.isFollow])).toEqual([
      [two.name, false],
      [one.name, true],
    ]);
  });

  test("take ids, cursors and counts that nobody gave out", async () => {
    const [viewer] = (await people(1)) as [Account];
    const { relation } = origin.as(viewer.token);
    for (const wrong of [-1n, 5n, 2n ** 53n, 2n ** 63n - 1n]) {
      for (const request of [{ userId: wrong }, { cursor: wrong }, { count: -1 }, { count: 2 ** 31 - 1 }]) {
        expect(await outcome(relation.listFollowing(request))).toBe("ok");
        expect(await outcome(relation.listFollowers(request))).toBe("ok");
        expect(await outcome(relation.listFriends(request))).toBe("ok");
      }
    }
  });
});

describe("friends", () => {
  test("follow each other; one direction is not enough", async () => {
    const [one, other, fan] = (await people(3)) as [Account, Account, Account];
    await follow(one, other);
    await follow(fan, one);
    expect(await friends(one)).toEqual([]);
    expect(await friends(other)).toEqual([]);
    await follow(other, one);
    expect((await friends(one)).map(({ user }) => user?.name)).toEqual([other.name]);
    expect((await friends(other)).map(({ user }) => user?.name)).toEqual([one.name]);
    await unfollow(other, one);
    expect(await friends(one)).toEqual([]);
  });

  test("come with the latest message between the two and whether the caller sent it", async () => {
    const [one, other] = (await people(2)) as [Account, Account];
    await follow(one, other);
    await follow(other, one);
    expect(await friends(one)).toMatchObject([{ message: "", sent: false }]);
    await origin.as(one.token).message.sendMessage({ toUserId: BigInt(other.userId), content: "hello" });
    expect(await friends(one)).toMatchObject([{ message: "hello", sent: true }]);
    expect(await friends(other)).toMatchObject([{ message: "hello", sent: false }]);
    await origin.as(other.token).message.sendMessage({ toUserId: BigInt(one.userId), content: "hello to you" });
    expect(await friends(one)).toMatchObject([{ message: "hello to you", sent: false }]);
    expect(await friends(other)).toMatchObject([{ message: "hello to you", sent: true }]);
  });

  test("of somebody else come without the messages of those two", async () => {
    const [one, other, stranger] = (await people(3)) as [Account, Account, Account];
    await follow(one, other);
    await follow(other, one);
    await origin.as(one.token).message.sendMessage({ toUserId: BigInt(other.userId), content: "between us" });
    const seen = await origin.as(stranger.token).relation.listFriends({ userId: BigInt(one.userId) });
    expect(seen.friends).toMatchObject([{ user: { name: other.name }, message: "", sent: false }]);
  });
});

describe("somebody who is not signed in", () => {
  test("follows nobody and sees no list", async () => {
    const [star] = (await people(1)) as [Account];
    const { relation } = origin.as();
    const userId = BigInt(star.userId);
    expect(await outcome(relation.setFollow({ userId, follow: true }))).toBe("UNAUTHENTICATED");
    const lists = [
      relation.listFollowing({ userId }),
      relation.listFollowers({ userId }),
      relation.listFriends({ userId }),
    ];
    for (const answer of await Promise.all(lists.map(outcome))) expect(answer).toBe("UNAUTHENTICATED");
    expect((await profile(star, star)).followers).toBe(0);
  });

  test("or is a viewer does not get at what only our services ask", async () => {
    const [viewer] = (await people(1)) as [Account];
    for (const { relation } of [origin.as(), origin.as(viewer.token)]) {
      expect(await outcome(relation.batchGetRelations({ userIds: [1n], viewerId: 2n }))).toBe("PERMISSION_DENIED");
    }
  });
});
