import type { ServiceImpl } from "@connectrpc/connect";
import { profileImages, users } from "@flick/db/schema/user.ts";
import { transact } from "@flick/db/transaction.ts";
import { ImageKind, type ImageJobService } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { and, eq, gt } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { createJobs } from "../jobs.ts";

type ImageRow = typeof profileImages.$inferSelect;

/** By kind: what the contract calls it, and the column of `users` that shows it. */
const places = {
  avatar: { kind: ImageKind.AVATAR, column: "avatar" },
  background: { kind: ImageKind.BACKGROUND, column: "backgroundImage" },
} as const;

/** The media worker's jobs with pictures for profiles: a row of `profile_images` is one until it is ready or has failed. */
export function createImageJobService(context: Context): ServiceImpl<typeof ImageJobService> {
  const { db, cache, objects, log } = context;
  const { claim, renewJob, failJob, listDueJobs, held, isCompleted, claimLost } = createJobs(context, {
    table: profileImages,
    givenUp: "This picture could not be processed. Please upload it again.",
    async endAsFailed(tx, row, reason) {
      await tx
        .update(profileImages)
        .set({ status: "failed", statusReason: reason })
        .where(eq(profileImages.id, row.id));
    },
    async changed(row, ended) {
      if (ended) await deleteUpload(row);
    },
  });

  return {
    renewJob,
    failJob,
    listDueJobs,

    async claimJob({ jobId }) {
      const claimed = await claim(jobId);
      if (!claimed) return {};
      const { job, row } = claimed;
      return { job: { ...job, userId: BigInt(row.userId), kind: places[row.kind].kind } };
    },

    async completeJob(request) {
      const [row] = await db
        .select()
        .from(profileImages)
        .where(eq(profileImages.id, toId(request.jobId)));
      if (!row) throw claimLost();
      const { imageKey } = request;
      const completed = await transact(db, async (tx) => {
        // Whoever completes a picture of this user waits here, so that each sees which are ready already.
        await tx.select({ id: users.id }).from(users).where(eq(users.id, row.userId)).for("update");
        const [result] = await tx.update(profileImages).set({ status: "ready", imageKey }).where(held(request));
        if (result.affectedRows === 0) return false;
        if ((await tx.$count(profileImages, newerReady(row))) === 0) {
          await tx
            .update(users)
            .set({ [places[row.kind].column]: imageKey })
            .where(eq(users.id, row.userId));
        }
        return true;
      });
      if (!completed && !(await isCompleted(request))) throw claimLost();
      await cache.delete([cacheKeys.user(row.userId)]);
      await deleteUpload(row);
      return {};
    },
  };

  /** If this fails, the sweep of uploads finds the object. */
  async function deleteUpload({ rawKey }: ImageRow): Promise<void> {
    await objects.delete(rawKey).catch((error: unknown) => log.warn("upload not deleted", { error }));
  }
}

/** The newest upload wins, also when the job of an older one ends later. */
function newerReady({ id, userId, kind }: ImageRow) {
  const { userId: ofUser, kind: ofKind, status, id: newer } = profileImages;
  return and(eq(ofUser, userId), eq(ofKind, kind), eq(status, "ready"), gt(newer, id));
}
