import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { databaseFault } from "@flick/db/errors.ts";
import { videos } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { and, eq } from "drizzle-orm";

import type { Admission } from "../admission.ts";
import type { Context } from "../context.ts";
import { callerKey } from "../interceptors.ts";
import { readText } from "../text.ts";
import { insertVideo, keysOfNewVideo, maxTitleLength } from "./insert-video.ts";
import { sniffVideo } from "./sniff.ts";

/** Publishing a file that its gateway stores between the two calls. */
export function createPublish(
  { db, cache, now }: Context,
  admission: Admission,
): Pick<ServiceImpl<typeof VideoService>, "admitVideo" | "publish"> {
  return {
    async admitVideo({ head, title }, { values }: HandlerContext) {
      if (title !== undefined) readTitle(title);
      const type = sniffVideo(head);
      if (!type)
        throw flickError(Reason.NOT_A_VIDEO, "data: this is not a video that we can read (MP4, MOV, MKV or WebM)");
      return admission.admit(values.get(callerKey).viewerId, type);
    },

    async publish(request, { values }: HandlerContext) {
      const { viewerId: authorId } = values.get(callerKey);
      if (request.ticket === "") throw flickError(Reason.MISSING_FILE, "data: the file is missing");
      const title = readTitle(request.title);
      const file = admission.open(request.ticket, authorId);
      const video = { ...file, title, authorId };
      if (!(await isPublished(video))) {
        await admission.check("data", file);
        await insert(video);
      }
      return { videoId: BigInt(video.id) };
    },
  };

  async function isPublished({ id, authorId }: { id: number; authorId: number }): Promise<boolean> {
    return (await db.$count(videos, and(eq(videos.id, id), eq(videos.authorId, authorId)))) > 0;
  }

  async function insert(video: Parameters<typeof insertVideo>[1]): Promise<void> {
    try {
      await transact(db, (tx) => insertVideo(tx, video, now()));
    } catch (error) {
      // The same call came twice at once, and the other one was first.
      if (databaseFault(error) === "duplicate" && (await isPublished(video))) return;
      throw error;
    }
    await cache.delete(keysOfNewVideo(video));
  }
}

const readTitle = (text: string) => readText("title", text, maxTitleLength);
