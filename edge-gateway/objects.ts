import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { VideoStatus, type Video } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import type { Fields } from "./endpoint.ts";

/** The User object of the public API. Without a user: the same keys, all empty. Ids and counts are below 2^53. */
export function userObject(user?: User): Fields {
  return {
    id: Number(user?.id ?? 0),
    name: user?.name ?? "",
    follow_count: Number(user?.followCount ?? 0),
    follower_count: Number(user?.followerCount ?? 0),
    is_follow: user?.isFollow ?? false,
    avatar: user?.avatar ?? "",
    background_image: user?.backgroundImage ?? "",
    signature: user?.signature ?? "",
    total_favorited: Number(user?.totalFavorited ?? 0),
    work_count: Number(user?.workCount ?? 0),
    favorite_count: Number(user?.favoriteCount ?? 0),
  };
}

const statusNames: Record<VideoStatus, string> = {
  [VideoStatus.UNSPECIFIED]: "",
  [VideoStatus.UPLOADED]: "uploaded",
  [VideoStatus.PROCESSING]: "processing",
  [VideoStatus.READY]: "ready",
  [VideoStatus.FAILED]: "failed",
};

/** The Video object of the public API; everything after `title` is our addition. `create_time` and `duration_ms` are in milliseconds. */
export function videoObject(video: Video): Fields {
  return {
    id: Number(video.id),
    author: userObject(video.author),
    play_url: video.playUrl,
    cover_url: video.coverUrl,
    favorite_count: Number(video.favoriteCount),
    comment_count: Number(video.commentCount),
    is_favorite: video.isFavorite,
    title: video.title,
    create_time: Number(video.createTime),
    status: statusNames[video.status] ?? "",
    status_reason: video.statusReason,
    width: video.width,
    height: video.height,
    duration_ms: Number(video.durationMs),
  };
}
