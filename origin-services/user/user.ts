import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { databaseFault } from "@flick/db/errors.ts";
import { users } from "@flick/db/schema/user.ts";
import type { TokenSubject } from "@flick/platform/access-token/access-token.ts";
import type { Revocation } from "@flick/platform/access-token/revocations.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { User, UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { eq, inArray, sql } from "drizzle-orm";

import type { Admission } from "../admission.ts";
import { flagKind, hashKind } from "../cache-kinds.ts";
import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { defaultImages } from "../default-images.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { checkBatch } from "../paging.ts";
import { readCredentials } from "./credentials.ts";
import { revokeAllTokens, revokeToken } from "./logout.ts";
import { createPictureAdmission, findPictures } from "./pictures.ts";
import type { Passwords } from "./passwords.ts";
import { readSignature, updateProfile } from "./update.ts";

const maxFind = 1000;

/** What everybody may see of a row: the cache holds no credentials. */
type Profile = Pick<typeof users.$inferSelect, "id" | "name" | "avatar" | "backgroundImage" | "signature">;

interface UserCounts {
  workCount: number;
  followCount: number;
  followerCount: number;
  favoriteCount: number;
  totalFavorited: number;
}

const profiles = hashKind<Profile>({
  key: cacheKeys.user,
  fields: { id: Number, name: String, avatar: String, backgroundImage: String, signature: String },
});

const userCounts = hashKind<UserCounts>({
  key: cacheKeys.userCounts,
  ttlMs: 5 * 60_000,
  fields: {
    workCount: Number,
    followCount: Number,
    followerCount: Number,
    favoriteCount: Number,
    totalFavorited: Number,
  },
});

interface UserTools {
  pictures: Admission;
  passwords: Passwords;
  issueToken: (subject: TokenSubject) => Promise<string>;
  tokenLifetimeMs: number;
  /** Called after the commit, and waited for. */
  onRevoked: (revocation: Revocation) => Promise<void>;
}

/** Accounts, credentials and public profiles, over the `users` table. */
export function createUserService(context: Context, tools: UserTools): ServiceImpl<typeof UserService> {
  const { db, clients, objects, cache } = context;
  const { pictures, passwords, issueToken, tokenLifetimeMs, onRevoked } = tools;
  const credentialsByName = db
    .select({ id: users.id, passwordHash: users.passwordHash, generation: users.tokenGeneration })
    .from(users)
    .where(eq(users.nameKey, sql.placeholder("nameKey")))
    .prepare();

  return {
    async register(request) {
      const { name, nameKey, password } = readCredentials(request);
      const taken = () => flickError(Reason.USERNAME_TAKEN, "this username is already in use");
      if ((await credentialsByName.execute({ nameKey })).length > 0) throw taken();
      const id = context.newId();
      const passwordHash = await passwords.hash(password);
      try {
        await db.insert(users).values({ id, name, nameKey, passwordHash, createdAt: context.now() });
      } catch (error) {
        if (databaseFault(error) === "duplicate") throw taken();
        throw error;
      }
      await cache.delete([cacheKeys.user(id)]);
      return { userId: BigInt(id), token: await issueToken({ userId: id, generation: 0 }) };
    },

    async login(request) {
      const { nameKey, password } = readCredentials(request);
      const [account] = await credentialsByName.execute({ nameKey });
      const fits = await passwords.verify(password, account?.passwordHash ?? null);
      if (!account || !fits) throw flickError(Reason.WRONG_CREDENTIALS, "wrong username or password");
      const { id, generation } = account;
      return { userId: BigInt(id), token: await issueToken({ userId: id, generation }) };
    },

    async logout(_request, { values }: HandlerContext) {
      const { token } = values.get(callerKey);
      if (token) await onRevoked(await revokeToken(context, token));
      return {};
    },

    async logoutEverywhere(_request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      await onRevoked(await revokeAllTokens(context, viewerId, tokenLifetimeMs));
      return {};
    },

    async getUser(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const [user] = await findUsers([toId(request.userId) || viewerId], viewerId);
      if (!user) throw flickError(Reason.USER_NOT_FOUND, "there is no such user");
      return { user };
    },

    ...createPictureAdmission(pictures),

    async updateUser({ signature: text, avatar, background }, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      if (text === undefined && !avatar && !background) {
        throw flickError(Reason.INVALID_PARAMETER, "there is nothing to change: send avatar, background or signature");
      }
      const signature = text === undefined ? undefined : readSignature(text);
      const images = await findPictures(context, pictures, viewerId, { avatar, background });
      await updateProfile(context, viewerId, { signature, images });
      const [user] = await findUsers([viewerId], viewerId);
      return user ? { user } : {};
    },

    async batchFindUsers({ userIds }) {
      const ids = checkBatch("user_ids", userIds, maxFind);
      if (ids.length === 0) return {};
      const rows = await db.select({ id: users.id }).from(users).where(inArray(users.id, ids));
      return { userIds: rows.map((row) => BigInt(row.id)) };
    },

    async batchGetUsers({ userIds, viewerId }) {
      return { users: await findUsers(checkBatch("user_ids", userIds), Number(viewerId)) };
    },
  };

  /** Three reads of the cache at once, however many ids. */
  async function findUsers(ids: number[], viewerId: number): Promise<UserFields[]> {
    if (ids.length === 0) return [];
    const [found, counts, follows] = await Promise.all([
      cache.values(profiles, ids, loadProfiles),
      cache.values(userCounts, ids, loadCounts),
      findFollows(ids, viewerId),
    ]);
    return ids.flatMap((id) => {
      const row = found.get(id);
      const counted = counts.get(id);
      return row && counted ? [{ ...profile(row), ...asBigInts(counted), isFollow: follows.get(id) ?? false }] : [];
    });
  }

  async function loadProfiles(ids: number[]): Promise<Map<number, Profile>> {
    const { id, name, avatar, backgroundImage, signature } = users;
    const rows = await db
      .select({ id, name, avatar, backgroundImage, signature })
      .from(users)
      .where(inArray(users.id, ids));
    return new Map(rows.map((row) => [row.id, row]));
  }

  async function loadCounts(ids: number[]): Promise<Map<number, UserCounts>> {
    const userIds = ids.map(BigInt);
    const [{ counts }, { relations }, { favorites }] = await Promise.all([
      clients.video.batchGetWorkCounts({ userIds }),
      clients.relation.batchGetRelations({ userIds }),
      clients.favorite.batchGetUserFavorites({ userIds }),
    ]);
    return new Map(
      ids.map((id) => {
        const key = String(id);
        const { followCount = 0n, followerCount = 0n } = relations[key] ?? {};
        const { favoriteCount = 0n, totalFavorited = 0n } = favorites[key] ?? {};
        const counted = {
          workCount: Number(counts[key] ?? 0n),
          followCount: Number(followCount),
          followerCount: Number(followerCount),
          favoriteCount: Number(favoriteCount),
          totalFavorited: Number(totalFavorited),
        };
        return [id, counted];
      }),
    );
  }

  /** Whom of these the viewer follows. */
  async function findFollows(ids: number[], viewerId: number): Promise<ReadonlyMap<number, boolean>> {
    if (viewerId === 0) return new Map();
    const isFollow = flagKind((userId) => cacheKeys.isFollow(viewerId, userId));
    return cache.values(isFollow, ids, async (missing) => {
      const asked = { userIds: missing.map(BigInt), viewerId: BigInt(viewerId) };
      const { relations } = await clients.relation.batchGetRelations(asked);
      return new Map(missing.map((id) => [id, relations[String(id)]?.isFollow ?? false]));
    });
  }

  function profile(row: Profile): UserFields {
    return {
      id: BigInt(row.id),
      name: row.name,
      avatar: objects.publicUrl(row.avatar || defaultImages.avatar),
      backgroundImage: objects.publicUrl(row.backgroundImage || defaultImages.background),
      signature: row.signature || defaultSignature,
    };
  }
}

const asBigInts = (counts: UserCounts) => ({
  workCount: BigInt(counts.workCount),
  followCount: BigInt(counts.followCount),
  followerCount: BigInt(counts.followerCount),
  favoriteCount: BigInt(counts.favoriteCount),
  totalFavorited: BigInt(counts.totalFavorited),
});

const defaultSignature = "Nothing written here yet.";

type UserFields = Partial<Omit<User, "$typeName" | "$unknown">>;
