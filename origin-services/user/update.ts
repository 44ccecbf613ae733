import { profileImages, users } from "@flick/db/schema/user.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { eq } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { StoredFile } from "../admission.ts";
import type { Context } from "../context.ts";
import { readText } from "../text.ts";

const maxSignatureLength = 255;

export type ImageKind = (typeof profileImages.$inferSelect)["kind"];

/** What is to change in a profile; what is not there stays. */
export interface ProfileUpdate {
  /** Empty for the default. */
  signature?: string | undefined;
  images: (StoredFile & { kind: ImageKind })[];
}

/**
 * Changes a profile in one transaction. Pictures show once a media worker has made them; the old ones stay until then.
 *
 * @throws INVALID_PARAMETER when there is nothing to change, USER_NOT_FOUND.
 */
export async function updateProfile(
  { db, cache, now }: Pick<Context, "db" | "cache" | "now">,
  userId: number,
  { signature, images }: ProfileUpdate,
): Promise<void> {
  const createdAt = now();
  await transact(db, async (tx) => {
    const [user] = await tx.select({ id: users.id }).from(users).where(eq(users.id, userId)).for("update");
    if (!user) throw flickError(Reason.USER_NOT_FOUND, "there is no such user");
    if (signature !== undefined) await tx.update(users).set({ signature }).where(eq(users.id, userId));
    if (images.length > 0) {
      const job = { userId, status: "uploaded" as const, createdAt, jobDueAt: createdAt };
      await tx.insert(profileImages).values(images.map((image) => ({ ...image, ...job })));
    }
  });
  await cache.delete([cacheKeys.user(userId)]);
}

/** @throws INVALID_PARAMETER when it is too long, or has nothing in it that can be seen without being empty. */
export function readSignature(text: string): string {
  return text === "" ? "" : readText("signature", text, maxSignatureLength);
}
