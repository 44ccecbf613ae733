import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { databaseFault } from "@flick/db/errors.ts";
import { users } from "@flick/db/schema/user.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { User, UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { eq, inArray, sql } from "drizzle-orm";

import type { Context } from "../context.ts";
import { defaultImages } from "../default-images.ts";
import { callerKey } from "../interceptors.ts";
import { readCredentials } from "./credentials.ts";
import type { Passwords } from "./passwords.ts";

const maxBatch = 100;

/** Accounts, credentials and public profiles, over the `users` table. */
export function createUserService(
  context: Context,
  tools: { passwords: Passwords; issueToken: (userId: number) => Promise<string> },
): ServiceImpl<typeof UserService> {
  const { db, clients, objects } = context;
  const { passwords, issueToken } = tools;
  const credentialsByName = db
    .select({ id: users.id, passwordHash: users.passwordHash })
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
      return { userId: BigInt(id), token: await issueToken(id) };
    },

    async login(request) {
      const { nameKey, password } = readCredentials(request);
      const [account] = await credentialsByName.execute({ nameKey });
      const fits = await passwords.verify(password, account?.passwordHash ?? null);
      if (!account || !fits) throw flickError(Reason.WRONG_CREDENTIALS, "wrong username or password");
      return { userId: BigInt(account.id), token: await issueToken(account.id) };
    },

    async getUser(request, { values }: HandlerContext) {
      const [user] = await findUsers([Number(request.userId) || values.get(callerKey).viewerId]);
      if (!user) throw flickError(Reason.USER_NOT_FOUND, "there is no such user");
      return { user };
    },

    async batchGetUsers(request) {
      if (request.userIds.length > maxBatch) {
        throw flickError(Reason.INVALID_PARAMETER, `user_ids: at most ${maxBatch}`);
      }
      return { users: await findUsers(request.userIds.map(Number)) };
    },
  };

  /** Two round trips, however many ids: profiles and counts. */
  async function findUsers(ids: number[]): Promise<UserFields[]> {
    if (ids.length === 0) return [];
    const [rows, { counts }] = await Promise.all([
      db.select().from(users).where(inArray(users.id, ids)),
      clients.video.batchGetWorkCounts({ userIds: ids.map(BigInt) }),
    ]);
    return rows.map((row) => toUser(row, counts[String(row.id)] ?? 0n));
  }

  function toUser(row: typeof users.$inferSelect, workCount: bigint): UserFields {
    return {
      id: BigInt(row.id),
      name: row.name,
      avatar: objects.publicUrl(row.avatar || defaultImages.avatar),
      backgroundImage: objects.publicUrl(row.backgroundImage || defaultImages.background),
      signature: row.signature || defaultSignature,
      workCount,
    };
  }
}

const defaultSignature = "Nothing written here yet.";

type UserFields = Partial<Omit<User, "$typeName" | "$unknown">>;
