/** A video as the public API shows it; docs of the fields are in the API's contract. */
export interface ApiVideo {
  id: number;
  author: ApiUser;
  play_url: string;
  cover_url: string;
  favorite_count: number;
  comment_count: number;
  is_favorite: boolean;
  title: string;
  create_time: number;
  status: "uploaded" | "processing" | "ready" | "failed";
  status_reason: string;
  width: number;
  height: number;
  duration_ms: number;
}

export interface ApiUser {
  id: number;
  name: string;
  follow_count: number;
  follower_count: number;
  is_follow: boolean;
  total_favorited: number;
  work_count: number;
  favorite_count: number;
  avatar: string;
  background_image: string;
  signature: string;
}

/** A friend, with the latest message between the two: `msgType` is 1 when the caller sent it. */
export interface ApiFriend extends ApiUser {
  message: string;
  msgType: 0 | 1;
}

export interface ApiComment {
  id: number;
  user: ApiUser;
  content: string;
  create_date: string;
  create_time: number;
}

export interface ApiMessage {
  id: number;
  to_user_id: number;
  from_user_id: number;
  content: string;
  create_time: number;
}

/** An upload in parts; the file's bytes from `(part_number - 1) * part_size` go to the `url` of the part. */
export interface ApiUpload {
  /** 0 when there is a video of this file already. */
  upload_id: number;
  video_id: number;
  part_size: number;
  content_type: string;
  uploaded_parts: number[];
  parts: { part_number: number; size: number; url: string }[];
  urls_expire_at: number;
  expires_at: number;
}

/** What an upload is begun with, or which one to go on with. */
export type ApiUploadRequest =
  | { upload_id: number }
  | { title: string; size: number; content_type: string; sha256?: string };

export interface ApiPublishStatus {
  video_id: number;
  status: ApiVideo["status"];
  percent: number;
  reason: string;
  cover_status: "" | "processing" | "ready" | "failed";
  cover_time_ms: number;
  cover_reason: string;
}

/** Which part of a list is wanted, and the part itself. */
export interface ApiCursor {
  cursor?: number;
  count?: number;
}

interface ApiPage {
  next_cursor: number;
  has_more: boolean;
}

/** The gateway answered, but not with success. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly httpStatus: number,
    readonly statusCode: number,
    message: string,
  ) {
    super(message);
  }
}

const timeoutMs = 60_000;

/**
 * The public API of a running gateway, as an app uses it. Every call fails with {@link ApiError} unless it succeeds.
 *
 * @param options.reuseConnections default true. A server closes a connection that was idle for a while (workerd after 5 s), and a POST that
 *   is sent on it at that moment fails, for nobody may repeat it: who counts failures takes a new connection for each call.
 */
export function createApiClient(baseUrl: string, { reuseConnections = true } = {}) {
  async function call<T>(
    path: string,
    params: Record<string, string | number | undefined>,
    init: RequestInit = {},
  ): Promise<T> {
    const url = new URL(`/douyin${path}`, baseUrl);
    for (const [name, value] of Object.entries(params))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const response = await fetch(url, {
      ...init,
      keepalive: reuseConnections,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const body = (await response.json()) as T & { status_code: number; status_msg: string };
    if (body.status_code !== 0) throw new ApiError(response.status, body.status_code, body.status_msg);
    return body;
  }
  const post = { method: "POST" };
  type Session = { user_id: number; token: string };
  type Videos = ApiPage & { video_list: ApiVideo[] };
  type People<Person> = ApiPage & { user_list: Person[] };
  type Comments = ApiPage & { comment_list: ApiComment[] };
  type Messages = ApiPage & { message_list: ApiMessage[] };
  return {
    register: (username: string, password: string) => call<Session>("/user/register/", { username, password }, post),
    login: (username: string, password: string) => call<Session>("/user/login/", { username, password }, post),
    user: (token: string, userId?: number) => call<{ user: ApiUser }>("/user/", { token, user_id: userId }),
    /** @param file its name does not matter; the server looks at the bytes. */
    publish(token: string, title: string, file: Blob): Promise<{ video_id: number }> {
      const body = new FormData();
      body.append("token", token);
      body.append("title", title);
      body.append("data", file, "clip.mp4");
      return call("/publish/action/", {}, { ...post, body });
    },
    beginUpload: (token: string, request: ApiUploadRequest) => call<ApiUpload>("/upload/", { token, ...request }, post),
    completeUpload: (token: string, uploadId: number) =>
      call<{ video_id: number }>("/upload/complete/", { token, upload_id: uploadId }, post),
    abortUpload: (token: string, uploadId: number) =>
      call<object>("/upload/abort/", { token, upload_id: uploadId }, post),
    publishStatus: (token: string, videoId: number) =>
      call<ApiPublishStatus>("/publish/status/", { token, video_id: videoId }),
    retryVideo: (token: string, videoId: number) => call<object>("/publish/retry/", { token, video_id: videoId }, post),
    chooseCover: (token: string, videoId: number, timeMs: number) =>
      call<object>("/publish/cover/", { token, video_id: videoId, time_ms: timeMs }, post),
    deleteVideo: (token: string, videoId: number) =>
      call<object>("/publish/delete/", { token, video_id: videoId }, post),
    publishList: (token: string, userId?: number) => call<Videos>("/publish/list/", { token, user_id: userId }),
    feed: (options: { latestTime?: number; token?: string; count?: number } = {}) => {
      const { latestTime, token, count } = options;
      return call<Videos & { next_time: number }>("/feed/", { latest_time: latestTime, token, count });
    },
    /** @param action 1 likes, 2 takes it back; also of follows, below. */
    favorite: (token: string, videoId: number, action: 1 | 2) =>
      call<object>("/favorite/action/", { token, video_id: videoId, action_type: action }, post),
    favoriteList: (token: string, userId?: number, page: ApiCursor = {}) =>
      call<Videos>("/favorite/list/", { token, user_id: userId, ...page }),
    comment: (token: string, videoId: number, text: string) => {
      const params = { token, video_id: videoId, action_type: 1, comment_text: text };
      return call<{ comment: ApiComment }>("/comment/action/", params, post);
    },
    deleteComment: (token: string, videoId: number, commentId: number) => {
      const params = { token, video_id: videoId, action_type: 2, comment_id: commentId };
      return call<{ comment: ApiComment }>("/comment/action/", params, post);
    },
    commentList: (videoId: number, page: ApiCursor & { token?: string } = {}) =>
      call<Comments>("/comment/list/", { video_id: videoId, ...page }),
    follow: (token: string, userId: number, action: 1 | 2) =>
      call<object>("/relation/action/", { token, to_user_id: userId, action_type: action }, post),
    followList: (token: string, userId?: number, page: ApiCursor = {}) =>
      call<People<ApiUser>>("/relation/follow/list/", { token, user_id: userId, ...page }),
    followerList: (token: string, userId?: number, page: ApiCursor = {}) =>
      call<People<ApiUser>>("/relation/follower/list/", { token, user_id: userId, ...page }),
    friendList: (token: string, userId?: number, page: ApiCursor = {}) =>
      call<People<ApiFriend>>("/relation/friend/list/", { token, user_id: userId, ...page }),
    sendMessage: (token: string, userId: number, content: string) =>
      call<object>("/message/action/", { token, to_user_id: userId, action_type: 1, content }, post),
    /** @param afterTime the app's `pre_msg_time`: 0 for the whole conversation. */
    chat: (token: string, userId: number, afterTime: number, page: ApiCursor = {}) =>
      call<Messages>("/message/chat/", { token, to_user_id: userId, pre_msg_time: afterTime, ...page }),
  };
}

export type ApiClient = ReturnType<typeof createApiClient>;
