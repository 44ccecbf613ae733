import { create, toJson } from "@bufbuild/protobuf";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { PublishResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { uploadPath } from "@flick/proto/upload.ts";
import { inArray, sql } from "drizzle-orm";

import { cacheKeys } from "../cache-keys.ts";
import type { Context } from "../context.ts";
import type { SweptUploads } from "../raw-sweep.ts";
import { readText } from "../text.ts";
import type { StoredFile, UploadKind } from "../upload.ts";
import { sniffBytes, sniffVideo } from "./sniff.ts";

const maxTitleLength = 100;

interface NewVideo extends StoredFile {
  title: string;
}

/** The upload that publishes a video. */
export function createVideoUpload(context: Context, { maxFileBytes }: { maxFileBytes: number }): UploadKind<NewVideo> {
  return {
    path: uploadPath,
    fileFields: ["data"],
    maxFileBytes,
    folder: "raw",
    sniffBytes,
    sniff(head) {
      const type = sniffVideo(head);
      if (type) return type;
      throw flickError(Reason.NOT_A_VIDEO, "data: this is not a video that we can read (MP4, MOV, MKV or WebM)");
    },
    check(fields) {
      if (fields.has("title")) checkTitle(fields.get("title"));
    },
    read({ fields, files }) {
      const file = files.get("data");
      if (!file) throw flickError(Reason.MISSING_FILE, "data: the file is missing");
      return { ...file, title: checkTitle(fields.get("title")) };
    },
    async commit(authorId, video) {
      await insertVideo(context, { ...video, authorId });
      return toJson(PublishResponseSchema, create(PublishResponseSchema, { videoId: BigInt(video.id) }));
    },
  };
}

async function insertVideo({ db, cache, now }: Context, video: NewVideo & { authorId: number }): Promise<void> {
  const { id, authorId } = video;
  const createdAt = now();
  await transact(db, async (tx) => {
    await tx.insert(videos).values({ ...video, status: "uploaded", createdAt, jobDueAt: createdAt });
    await tx
      .insert(workCounts)
      .values({ userId: authorId, count: 1 })
      .onDuplicateKeyUpdate({ set: { count: sql`${workCounts.count} + 1` } });
  });
  await cache.delete([cacheKeys.video(id), cacheKeys.published(authorId), cacheKeys.userCounts(authorId)]);
}

/** An upload stays as long as its video has a row. */
export function sweptVideoUploads({ db }: Pick<Context, "db">): SweptUploads {
  return {
    folder: "raw",
    async wanted(ids) {
      const rows = await db.select({ rawKey: videos.rawKey }).from(videos).where(inArray(videos.id, ids));
      return rows.map((row) => row.rawKey);
    },
  };
}

const checkTitle = (text: string | undefined) => readText("title", text ?? "", maxTitleLength);
