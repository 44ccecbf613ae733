import {
  createContextValues,
  createHandlerContext,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import { connectDatabase, type Database } from "@flick/db/client.ts";
import { createIdGenerator } from "@flick/db/id.ts";
import { createAdmission } from "@flick/origin-services/admission.ts";
import { createCache } from "@flick/origin-services/cache.ts";
import { createClients, serviceNames, type Clients } from "@flick/origin-services/clients.ts";
import { createCommentService } from "@flick/origin-services/comment/comment.ts";
import type { Context } from "@flick/origin-services/context.ts";
import { createFavoriteService } from "@flick/origin-services/favorite/favorite.ts";
import { callerKey, createErrorInterceptor } from "@flick/origin-services/interceptors.ts";
import { createMessageService } from "@flick/origin-services/message/message.ts";
import { createRelationService } from "@flick/origin-services/relation/relation.ts";
import { createPasswords } from "@flick/origin-services/user/passwords.ts";
import { createUserService } from "@flick/origin-services/user/user.ts";
import { createVideoJobs } from "@flick/origin-services/video/media-jobs.ts";
import { createVideoService } from "@flick/origin-services/video/video.ts";
import { createLog } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

const viewerHeader = "x-viewer";

/** The services of an origin without its HTTP server and its tokens. */
export interface Services {
  db: Database;
  favorite: ReturnType<typeof createFavoriteService>;
  comment: ReturnType<typeof createCommentService>;
  message: ReturnType<typeof createMessageService>;
  /** As the services call each other; `as` gives the options of a viewer's call. */
  clients: Clients;
  as(viewerId: number): { headers: Record<string, string> };
  /** What a handler is told of a viewer's call. */
  callOf(viewerId: number): HandlerContext;
  close(): Promise<void>;
}

export function createServices(urls: { mysqlUrl: string; redisUrl: string }): Services {
  const log = createLog({ program: "bench", level: "error" });
  const { db, close: closeDatabase } = connectDatabase({ url: urls.mysqlUrl });
  const cache = createCache({ url: urls.redisUrl, log });
  const passwords = createPasswords({ threads: 1 });
  const identify: Interceptor = (next) => (request) => {
    request.contextValues.set(callerKey, callerOf(Number(request.header.get(viewerHeader) ?? 0)));
    return next(request);
  };
  const routes = (router: ConnectRouter) => {
    router.service(UserService, user);
    router.service(VideoService, video);
    router.service(FavoriteService, favorite);
    router.service(CommentService, comment);
    router.service(RelationService, relation);
    router.service(MessageService, message);
  };
  const clients = createClients({
    local: serviceNames,
    routes,
    interceptors: [createErrorInterceptor(log), identify],
    urls: {
      user: undefined,
      video: undefined,
      favorite: undefined,
      comment: undefined,
      relation: undefined,
      message: undefined,
    },
    serviceToken: () => Promise.resolve("none"),
    timeoutMs: 5_000,
  });
  const objects = createObjectStore({
    endpoint: "http://localhost:1",
    region: "none",
    bucket: "none",
    accessKeyId: "none",
    accessKeySecret: "none",
  });
  const context: Context = { db, cache, objects, clients, log, now: Date.now, newId: createIdGenerator(0) };
  const uploads = createAdmission(context, { folder: "raw", maxFileBytes: 1, secret: "none" });
  const user = createUserService(context, {
    pictures: uploads,
    passwords,
    issueToken: () => Promise.resolve(""),
    tokenLifetimeMs: 1,
    onRevoked: () => Promise.resolve(),
  });
  const video = createVideoService(context, {
    uploads,
    identify: (token) => Promise.resolve(Number(token)),
    jobs: createVideoJobs(context),
  });
  const favorite = createFavoriteService(context);
  const comment = createCommentService(context);
  const relation = createRelationService(context);
  const message = createMessageService(context);
  return {
    db,
    favorite,
    comment,
    message,
    clients,
    as: (viewerId) => ({ headers: { [viewerHeader]: String(viewerId) } }),
    callOf: (viewerId) =>
      createHandlerContext({
        service: FavoriteService,
        method: FavoriteService.method.setFavorite,
        protocolName: "none",
        requestMethod: "POST",
        url: "http://localhost/",
        contextValues: createContextValues().set(callerKey, callerOf(viewerId)),
      }),
    async close() {
      passwords.close();
      cache.close();
      await closeDatabase();
    },
  };
}

const callerOf = (viewerId: number) => ({ viewerId, token: null, service: "bench" });
