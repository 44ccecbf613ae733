import type { Comment } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import type { Message } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import type { Friend } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
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

/** The FriendUser object: `msgType` is 0 when the caller received the latest message (or there is none) and 1 when they sent it. */
export function friendObject({ user, message, sent }: Friend): Fields {
  return { ...userObject(user), message, msgType: sent ? 1 : 0 };
}

/** The Comment object. Without a comment: the same keys, all empty. `create_time`, in milliseconds, is our addition. */
export function commentObject(comment?: Comment): Fields {
  const createTime = Number(comment?.createTime ?? 0);
  return {
    id: Number(comment?.id ?? 0),
    user: userObject(comment?.user),
    content: comment?.content ?? "",
    create_date: comment ? monthAndDay(createTime) : "",
    create_time: createTime,
  };
}

/** The Message object; `create_time` is in milliseconds. */
export function messageObject(message: Message): Fields {
  return {
    id: Number(message.id),
    to_user_id: Number(message.toUserId),
    from_user_id: Number(message.fromUserId),
    content: message.content,
    create_time: Number(message.createTime),
  };
}

/** "mm-dd" in UTC: nothing tells us where the viewer is. */
function monthAndDay(ms: number): string {
  return new Date(ms).toISOString().slice(5, 10);
}
