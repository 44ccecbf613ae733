import type { Comment } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import type { Message } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import type { Friend } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import type { User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { VideoStatus, type Video } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import * as v from "valibot";

import { choiceField, emptyOf, flagField, textField, wholeField } from "./fields.ts";

/** The User object of the public API. */
export const userSchema = v.pipe(
  v.object({
    id: wholeField("The user's id.", 7_312_345_678_900_001),
    name: textField("The username.", "zoë"),
    follow_count: wholeField("How many people the user follows.", 12),
    follower_count: wholeField("How many people follow the user.", 340),
    is_follow: flagField("Does the caller follow this user?", true),
    avatar: textField("Address of the user's picture; there is a default one.", "https://cdn.example/a/7.jpg"),
    background_image: textField("Address of the picture behind the profile.", "https://cdn.example/b/7.jpg"),
    signature: textField("What the user says of themselves; there is a default.", "One clip a day."),
    total_favorited: wholeField("Likes that the user's videos have.", 5210),
    work_count: wholeField("Videos that the user has published.", 48),
    favorite_count: wholeField("Videos that the user likes.", 96),
  }),
  v.metadata({ title: "User", description: "A public profile. Counts are exact." }),
);

/** Ids and counts are below 2^53. */
export function userObject(user: User | undefined): v.InferOutput<typeof userSchema> {
  if (!user) return emptyOf(userSchema);
  return {
    id: Number(user.id),
    name: user.name,
    follow_count: Number(user.followCount),
    follower_count: Number(user.followerCount),
    is_follow: user.isFollow,
    avatar: user.avatar,
    background_image: user.backgroundImage,
    signature: user.signature,
    total_favorited: Number(user.totalFavorited),
    work_count: Number(user.workCount),
    favorite_count: Number(user.favoriteCount),
  };
}

/** The FriendUser object. */
export const friendSchema = v.pipe(
  v.object({
    ...userSchema.entries,
    message: textField("Text of the latest message between the two; empty when there is none.", "see you at eight"),
    msgType: choiceField(
      [0, 1],
      "Of that message: 0 when the caller received it (or there is none), 1 when they sent it.",
      1,
    ),
  }),
  v.metadata({ title: "FriendUser", description: "A user that follows the caller and is followed back." }),
);

export function friendObject({ user, message, sent }: Friend): v.InferOutput<typeof friendSchema> {
  return { ...userObject(user), message, msgType: sent ? 1 : 0 };
}

const statusNames = {
  [VideoStatus.UNSPECIFIED]: "",
  [VideoStatus.UPLOADED]: "uploaded",
  [VideoStatus.PROCESSING]: "processing",
  [VideoStatus.READY]: "ready",
  [VideoStatus.FAILED]: "failed",
} as const;

/** Empty for one that a newer origin knows. */
export const statusName = (status: VideoStatus) => (statusNames as Partial<typeof statusNames>)[status] ?? "";

const renditionSchema = v.pipe(
  v.object({
    url: textField("Address of the MP4.", "https://cdn.example/v/9/540.mp4"),
    width: wholeField("Of the picture, in pixels.", 540),
    height: wholeField("Of the picture, in pixels.", 960),
    bitrate: wholeField("Mean bits a second, sound included.", 910_000),
    bytes: wholeField("Size of the file.", 1_710_000),
  }),
  v.metadata({ title: "Rendition", description: "The video in one of its sizes." }),
);

const coverSchema = v.pipe(
  v.object({
    url: textField("Address of the picture.", "https://cdn.example/v/9/cover-360.webp"),
    width: wholeField("In pixels.", 360),
    height: wholeField("In pixels.", 640),
    type: textField("`image/webp` or `image/jpeg`.", "image/webp"),
  }),
  v.metadata({ title: "Cover", description: "The cover in one of its sizes and formats." }),
);

/** The Video object; everything after `title` is our addition. */
export const videoSchema = v.pipe(
  v.object({
    id: wholeField("The video's id.", 7_312_345_678_901_234),
    author: userSchema,
    play_url: textField("Address of the MP4: it never changes, and takes ranges.", "https://cdn.example/v/9/play.mp4"),
    cover_url: textField("Address of the cover, a JPEG.", "https://cdn.example/v/9/cover.jpg"),
    favorite_count: wholeField("How many people like it.", 1024),
    comment_count: wholeField("How many comments it has.", 33),
    is_favorite: flagField("Does the caller like it?", false),
    title: textField("What its author called it.", "My day"),
    create_time: wholeField("When it was published, in milliseconds since 1970.", 1_790_000_000_123),
    status: choiceField(
      ["", "uploaded", "processing", "ready", "failed"],
      "Only its author sees a video that is not `ready`. Empty when it is unknown.",
      "ready",
    ),
    status_reason: textField("Why it failed, a sentence for its author; else empty.", ""),
    width: wholeField("Of the picture, in pixels; 0 until it is ready.", 720),
    height: wholeField("Of the picture, in pixels; 0 until it is ready.", 1280),
    duration_ms: wholeField("In milliseconds; 0 until it is ready.", 15_040),
    renditions: v.pipe(
      v.array(renditionSchema),
      v.description("MP4s in several sizes, narrowest first; `play_url` is one of them."),
    ),
    hls_url: textField(
      "Address of the HLS stream of the same; empty until it is ready.",
      "https://cdn.example/v/9/hls.m3u8",
    ),
    covers: v.pipe(v.array(coverSchema), v.description("The cover, narrowest first; `cover_url` is one of them.")),
    preview_url: textField(
      "Address of three moving seconds, a WebP; empty until it is ready.",
      "https://cdn.example/v/9/preview.webp",
    ),
    thumbhash: textField("What to show while the cover loads: a ThumbHash in base64.", "3OcRJYB4d3h/iIeHeEh3eIhw+j3A"),
  }),
  v.metadata({ title: "Video" }),
);

export function videoObject(video: Video): v.InferOutput<typeof videoSchema> {
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
    status: statusName(video.status),
    status_reason: video.statusReason,
    width: video.width,
    height: video.height,
    duration_ms: Number(video.durationMs),
    renditions: video.renditions.map(({ url, width, height, bitrate, bytes }) => {
      return { url, width, height, bitrate, bytes: Number(bytes) };
    }),
    hls_url: video.hlsUrl,
    covers: video.covers.map(({ url, width, height, type }) => ({ url, width, height, type })),
    preview_url: video.previewUrl,
    thumbhash: video.thumbhash,
  };
}

/** The Comment object; `create_time` is our addition. */
export const commentSchema = v.pipe(
  v.object({
    id: wholeField("The comment's id.", 7_312_345_678_905_555),
    user: userSchema,
    content: textField("The text.", "so good 🎬"),
    create_date: textField('"mm-dd" in UTC.', "11-22"),
    create_time: wholeField("In milliseconds since 1970.", 1_790_000_000_123),
  }),
  v.metadata({ title: "Comment" }),
);

export function commentObject(comment: Comment | undefined): v.InferOutput<typeof commentSchema> {
  if (!comment) return emptyOf(commentSchema);
  const createTime = Number(comment.createTime);
  return {
    id: Number(comment.id),
    user: userObject(comment.user),
    content: comment.content,
    create_date: monthAndDay(createTime),
    create_time: createTime,
  };
}

/** The Message object. */
export const messageSchema = v.pipe(
  v.object({
    id: wholeField("The message's id.", 7_312_345_678_907_777),
    to_user_id: wholeField("Who received it.", 7_312_345_678_900_002),
    from_user_id: wholeField("Who sent it.", 7_312_345_678_900_001),
    content: textField("The text.", "see you at eight"),
    create_time: wholeField(
      "In milliseconds since 1970; within a conversation every message has a later one than the message before.",
      1_790_000_000_123,
    ),
  }),
  v.metadata({ title: "Message" }),
);

export function messageObject(message: Message): v.InferOutput<typeof messageSchema> {
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
