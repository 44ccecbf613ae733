import { create, toJson } from "@bufbuild/protobuf";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { PublishResponseSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { uploadPath } from "@flick/proto/upload.ts";

import type { Context } from "../context.ts";
import { readText } from "../text.ts";
import type { StoredFile, UploadKind } from "../upload.ts";
import { insertVideo, keysOfNewVideo, maxTitleLength } from "./insert-video.ts";
import { sniffBytes, sniffVideo } from "./sniff.ts";

interface TitledFile extends StoredFile {
  title: string;
}

/** The upload that publishes a video. */
export function createVideoUpload(
  context: Context,
  { maxFileBytes }: { maxFileBytes: number },
): UploadKind<TitledFile> {
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
      const { db, cache, now } = context;
      await transact(db, (tx) => insertVideo(tx, { ...video, authorId }, now()));
      await cache.delete(keysOfNewVideo({ ...video, authorId }));
      return toJson(PublishResponseSchema, create(PublishResponseSchema, { videoId: BigInt(video.id) }));
    },
  };
}

const checkTitle = (text: string | undefined) => readText("title", text ?? "", maxTitleLength);
