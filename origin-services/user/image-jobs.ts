import type { ServiceImpl } from "@connectrpc/connect";
import { profileImages, users } from "@flick/db/schema/user.ts";
import { transact } from "@flick/db/transaction.ts";
import {
  ImageKind,
  type ImageJobAdminService,
  type ImageJobService,
} from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { and, eq, gt, lt, or } from "drizzle-orm";

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

/** How long a picture stays after it was replaced, for those who have its URL from a moment ago. */
const replacedForMs = 30_000;

/** A row of `profile_images` is a job until it is ready or has failed. The upload of a dead letter stays, for another try. */
export function createImageJobs(context: Context) {
  return createJobs(context, {
    table: profileImages,
    owner: "userId",
    retriable: or(eq(profileImages.jobDead, true), eq(profileImages.status, "uploaded")),
    givenUp: "This picture could not be processed. Please upload it again.",
    async changed(row, ending) {
      if (ending === "failed") await deleteUpload(context, row);
    },
  });
}

export type ImageJobs = ReturnType<typeof createImageJobs>;

/** What operators see of them and do with them. */
export function createImageJobAdminService({
  listJobs,
  retryJob,
}: ImageJobs): ServiceImpl<typeof ImageJobAdminService> {
  return { listJobs, retryJob };
}

/** The media worker's side of them. */
export function createImageJobService(context: Context, jobs: ImageJobs): ServiceImpl<typeof ImageJobService> {
  const { db, cache, now } = context;
  const { claim, renewJob, failJob, listDueJobs, held, isCompleted, claimLost } = jobs;

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
        const replaced = { status: "replaced" as const, jobDueAt: now() + replacedForMs };
        if ((await tx.$count(profileImages, newerReady(row))) === 0) {
          await tx
            .update(users)
            .set({ [places[row.kind].column]: imageKey })
            .where(eq(users.id, row.userId));
          await tx.update(profileImages).set(replaced).where(olderReady(row));
        } else {
          await tx.update(profileImages).set(replaced).where(eq(profileImages.id, row.id));
        }
        return true;
      });
      if (!completed && !(await isCompleted(request))) throw claimLost();
      await cache.delete([cacheKeys.user(row.userId)]);
      await deleteUpload(context, row);
      return {};
    },
  };
}

/** If this fails, the sweep of uploads finds the object. */
async function deleteUpload({ objects, log }: Context, { rawKey }: ImageRow): Promise<void> {
  await objects.delete(rawKey).catch((error: unknown) => log.warn("upload not deleted", { error }));
}

/** The newest upload wins, also when the job of an older one ends later. */
const newerReady = (row: ImageRow) => and(readyLike(row), gt(profileImages.id, row.id));
const olderReady = (row: ImageRow) => and(readyLike(row), lt(profileImages.id, row.id));

function readyLike({ userId, kind }: ImageRow) {
  return and(eq(profileImages.userId, userId), eq(profileImages.kind, kind), eq(profileImages.status, "ready"));
}
