import type { MessageInitShape } from "@bufbuild/protobuf";
import type { videos } from "@flick/db/schema/video.ts";
import { VideoStatus, type VideoSchema } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";

import type { Context } from "../context.ts";
import { defaultImages } from "../default-images.ts";

export type VideoRow = typeof videos.$inferSelect;

/** How long the author's link to an upload that is not ready yet works. */
const rawLinkSeconds = 3600;

const statuses: Record<Exclude<VideoRow["status"], "deleted">, VideoStatus> = {
  uploaded: VideoStatus.UPLOADED,
  processing: VideoStatus.PROCESSING,
  ready: VideoStatus.READY,
  failed: VideoStatus.FAILED,
};

/** Rows as one viewer sees them. */
export function createVideoView({ clients, objects }: Context): {
  toVideos(rows: VideoRow[], viewerId: number): Promise<MessageInitShape<typeof VideoSchema>[]>;
} {
  return {
    /** One call for all authors, however many rows; a row whose author is gone is left out. */
    async toVideos(rows, viewerId) {
      if (rows.length === 0) return [];
      const userIds = [...new Set(rows.map((row) => row.authorId))].map(BigInt);
      const { users } = await clients.user.batchGetUsers({ userIds });
      const authors = new Map(users.map((user) => [Number(user.id), user]));
      return Promise.all(
        rows.flatMap((row) => {
          const author = authors.get(row.authorId);
          return author ? [toVideo(row, author, viewerId)] : [];
        }),
      );
    },
  };

  async function toVideo(row: VideoRow, author: User, viewerId: number): Promise<MessageInitShape<typeof VideoSchema>> {
    return {
      id: BigInt(row.id),
      author,
      // Until there is a rendition, its author watches the upload itself; nobody else is shown this row.
      playUrl: row.playKey ? objects.publicUrl(row.playKey) : await objects.signedUrl(row.rawKey, rawLinkSeconds),
      coverUrl: objects.publicUrl(row.coverKey || defaultImages.cover),
      title: row.title,
      createTime: BigInt(row.createdAt),
      status: row.status === "deleted" ? VideoStatus.UNSPECIFIED : statuses[row.status],
      statusReason: row.authorId === viewerId ? row.statusReason : "",
      width: row.width,
      height: row.height,
      durationMs: BigInt(row.durationMs),
    };
  }
}
