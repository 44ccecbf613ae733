import { Code, ConnectError, createClient, type CallOptions, type Client, type Interceptor } from "@connectrpc/connect";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { createUnaryTransport } from "@flick/platform/rpc/unary-transport.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { UserService, type UpdateUserResponse } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { UploadService } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { VideoService, type PublishResponse } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { anyOrigin, type BalancedFetch } from "./balanced-fetch.ts";
import type { GatewayContext } from "./endpoint.ts";
import { createStreamRelay, type StreamRelay } from "./stream.ts";
import { createUploader, type Uploader } from "./upload.ts";
import { profileUpload, videoUpload } from "./upload-kinds.ts";

/** The services behind the gateway. */
export interface Origin {
  users: Client<typeof UserService>;
  videos: Client<typeof VideoService>;
  favorites: Client<typeof FavoriteService>;
  comments: Client<typeof CommentService>;
  relations: Client<typeof RelationService>;
  messages: Client<typeof MessageService>;
  uploads: Client<typeof UploadService>;
  publish: Uploader<PublishResponse>;
  uploadProfile: Uploader<UpdateUserResponse>;
  stream: StreamRelay;
  /** Asks the user service for its public keys. */
  publicKeys: (signal: AbortSignal) => Promise<Response>;
}

/** Deadline of a call that sets none of its own. */
const callTimeoutMs = 5_000;
/** Far above the longest page. */
const maxAnswerBytes = 4 * 1024 * 1024;

/** What the origins may be asked; each has its own list in their announcements. */
export const originServices = [
  UserService,
  VideoService,
  FavoriteService,
  CommentService,
  RelationService,
  MessageService,
] as const;

/** @param balanced chooses who answers. */
export function createOrigin({ call, transfer }: Pick<BalancedFetch, "call" | "transfer">): Origin {
  const transport = createUnaryTransport({
    baseUrl: anyOrigin,
    fetch: call,
    timeoutMs: callTimeoutMs,
    maxAnswerBytes,
    interceptors: [silenceIsOutage],
  });
  const users = createClient(UserService, transport);
  const videos = createClient(VideoService, transport);
  return {
    users,
    videos,
    favorites: createClient(FavoriteService, transport),
    comments: createClient(CommentService, transport),
    relations: createClient(RelationService, transport),
    messages: createClient(MessageService, transport),
    uploads: createClient(UploadService, transport),
    publish: createUploader(videoUpload(videos)),
    uploadProfile: createUploader(profileUpload(users)),
    stream: createStreamRelay(transfer),
    publicKeys: (signal) => call(`${anyOrigin}${publicKeysPath}`, { redirect: "manual", signal }),
  };
}

/** What every call made for a request carries: its id, its end if the client goes away and, when it has one, the viewer's token. */
export function callFrom(c: GatewayContext, token: string | undefined): CallOptions {
  return {
    signal: c.req.raw.signal,
    headers: { "x-request-id": c.get("requestId"), ...(token ? { authorization: `Bearer ${token}` } : {}) },
  };
}

/** A call that ends without a word from the origin (refused, reset, cut off) is an outage, not a fault of ours. */
const silenceIsOutage: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    if (error instanceof ConnectError) throw error;
    throw new ConnectError("no answer from the origin", Code.Unavailable, undefined, undefined, error);
  }
};
