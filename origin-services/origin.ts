import type { DescService } from "@bufbuild/protobuf";
import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import { connectDatabase } from "@flick/db/client.ts";
import { createIdGenerator } from "@flick/db/id.ts";
import { createTokenIssuer } from "@flick/platform/access-token/access-token.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { createTokenVerifier } from "@flick/platform/access-token/verify.ts";
import { checkOurTopics, openEventLog } from "@flick/platform/event-log/open.ts";
import { followConfig } from "@flick/platform/live-config/follow-redis.ts";
import { logLevelOf } from "@flick/platform/live-config/log-settings.ts";
import type { Log, LogLevel } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { createServiceTokenSigner, createServiceTokenVerifier } from "@flick/platform/service-token.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { ImageJobAdminService, ImageJobService } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { CoverJobAdminService, CoverJobService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { UploadService } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { MediaJobAdminService, MediaJobService, VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { publishEventsPath, streamPath } from "@flick/proto/stream.ts";
import { sql } from "drizzle-orm";

import { createAdmission } from "./admission.ts";
import { announce } from "./announce.ts";
import { createCache, type CacheStats } from "./cache.ts";
import { createClients, type ServiceName } from "./clients.ts";
import { createCommentService } from "./comment/comment.ts";
import { originConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { createEdgeRevocations } from "./edge-revocations.ts";
import type { OriginEnv } from "./env.ts";
import { createCallerInterceptor, createDeadlineInterceptor, createErrorInterceptor } from "./interceptors.ts";
import { createFeedPurge } from "./feed-purge.ts";
import { invalidateByChanges } from "./invalidation.ts";
import { createFavoriteService } from "./favorite/favorite.ts";
import { readLiveMessages } from "./message/live-messages.ts";
import { createMessageService } from "./message/message.ts";
import { createMessageStreams } from "./message/stream.ts";
import { createRelationService } from "./relation/relation.ts";
import { startRawSweep } from "./raw-sweep.ts";
import { readRevocations } from "./revocations.ts";
import { repeat } from "./repeat.ts";
import { serve } from "./server.ts";
import { createImageJobAdminService, createImageJobs, createImageJobService } from "./user/image-jobs.ts";
import { removeReplacedImages } from "./user/image-removal.ts";
import { answerKeys, loadKeys } from "./user/keys.ts";
import { startRevocationSweep } from "./user/logout.ts";
import { createPasswords } from "./user/passwords.ts";
import { createUserService } from "./user/user.ts";
import { storeDefaultImages } from "./default-images.ts";
import { sweptProfileUploads } from "./user/pictures.ts";
import { createCoverJobAdminService, createCoverJobs, createCoverJobService } from "./video/covers.ts";
import { removeOldCovers } from "./video/cover-removal.ts";
import { createMediaJobAdminService, createMediaJobService, createVideoJobs } from "./video/media-jobs.ts";
import { createPublishStreams, readLiveVideos } from "./video/publish-events.ts";
import { createVideoRemoval } from "./video/removal.ts";
import { sweepUnknownParts, sweepUploads, sweptVideoUploads } from "./video/upload-sweep.ts";
import { createUploadService } from "./video/uploads.ts";
import { createVideoService } from "./video/video.ts";

const callTimeoutMs = 5_000;
/** What is deleted goes within moments; what nobody waits for, with the minute or the hour. */
const removalIntervalMs = 2_000;
const uploadSweepIntervalMs = 60_000;
const partSweepIntervalMs = 3_600_000;

/** Starts the services that the environment names, in this process. */
export async function startOrigin(
  env: OriginEnv,
  log: Log,
): Promise<{ url: string; cacheStats(): CacheStats; logLevel(): LogLevel; stop(drainMs: number): Promise<void> }> {
  const keys = await loadKeys(env, log);
  const { signing } = keys;
  const tokenLifetimeMs = env.TOKEN_TTL_S * 1000;
  const { db, close: closeDatabase } = connectDatabase({ url: env.MYSQL_URL, connections: env.MYSQL_CONNECTIONS });
  const revocations = readRevocations({ db, log });
  const edge = createEdgeRevocations({ url: env.REDIS_URL, log, tokenLifetimeMs });
  const tokens = createTokenVerifier({ keys: keys.publicKeys, isRevoked: revocations.isRevoked });
  const identities = {
    viewer: (token: string) => tokens.verify(token),
    hasEnded: revocations.hasEnded,
    service: createServiceTokenVerifier(env.SERVICE_TOKEN_SECRET),
  };
  const interceptors = [createErrorInterceptor(log), createCallerInterceptor(identities), createDeadlineInterceptor()];
  const objects = createObjectStore({
    endpoint: env.OSS_URL,
    ...(env.OSS_PUBLIC_URL ? { publicUrl: env.OSS_PUBLIC_URL } : {}),
    ...(env.OSS_EDGE_URL ? { edgeUrl: env.OSS_EDGE_URL } : {}),
    region: env.OSS_REGION,
    bucket: env.OSS_BUCKET,
    accessKeyId: env.OSS_ACCESS_KEY_ID,
    accessKeySecret: env.OSS_ACCESS_KEY_SECRET,
  });
  const events = openEventLog(env, log, `origin-${env.NODE_ID}`);
  await checkOurTopics(events, log);
  const config = await followConfig({ program: "origin", schema: originConfig, url: env.REDIS_URL, log });
  const cache = createCache({ url: env.REDIS_URL, log, settings: () => config.current().cache });
  const passwords = createPasswords({ threads: env.PASSWORD_THREADS });

  const context: Context = {
    db,
    cache,
    objects,
    clients: createClients({
      local: env.SERVICES,
      routes: addServices,
      interceptors,
      urls: {
        user: env.USER_SERVICE_URL,
        video: env.VIDEO_SERVICE_URL,
        favorite: env.FAVORITE_SERVICE_URL,
        comment: env.COMMENT_SERVICE_URL,
        relation: env.RELATION_SERVICE_URL,
        message: env.MESSAGE_SERVICE_URL,
      },
      serviceToken: createServiceTokenSigner("origin", env.SERVICE_TOKEN_SECRET),
      timeoutMs: callTimeoutMs,
    }),
    log,
    now: Date.now,
    newId: createIdGenerator(env.NODE_ID),
  };
  const services: ((router: ConnectRouter) => void)[] = [];
  const handlers: Record<string, (request: Request) => Promise<Response>> = {};
  const sweeps: (() => void)[] = [];
  const secret = env.SERVICE_TOKEN_SECRET;
  const offer = <S extends DescService>(name: ServiceName, service: S, create: () => ServiceImpl<S>): void => {
    if (!env.SERVICES.includes(name)) return;
    const implementation = create();
    services.push((router) => void router.service(service, implementation));
  };
  offer("user", UserService, () => {
    if (!signing) throw new TypeError("the user service signs tokens");
    handlers[publicKeysPath] = answerKeys(signing.published);
    sweeps.push(startRevocationSweep(context));
    return createUserService(context, {
      pictures: createAdmission(context, { folder: "raw-images", maxFileBytes: env.MAX_IMAGE_BYTES, secret }),
      passwords,
      issueToken: createTokenIssuer({ signingKey: signing.key, lifetimeSeconds: env.TOKEN_TTL_S }),
      tokenLifetimeMs,
      async onRevoked(revocation) {
        revocations.add(revocation);
        await edge.publish(revocation);
      },
    });
  });
  const imageJobs = createImageJobs(context);
  const videoJobs = createVideoJobs(context);
  const coverJobs = createCoverJobs(context);
  offer("user", ImageJobService, () => createImageJobService(context, imageJobs));
  offer("user", ImageJobAdminService, () => createImageJobAdminService(imageJobs));
  offer("video", VideoService, () =>
    createVideoService(context, {
      uploads: createAdmission(context, { folder: "raw", maxFileBytes: env.MAX_UPLOAD_BYTES, secret }),
      identify: async (token) => (await identities.viewer(token)).userId,
      jobs: videoJobs,
    }),
  );
  offer("video", UploadService, () => createUploadService(context, { maxFileBytes: env.MAX_UPLOAD_BYTES }));
  offer("video", MediaJobService, () => createMediaJobService(context, videoJobs));
  offer("video", MediaJobAdminService, () => createMediaJobAdminService(videoJobs));
  offer("video", CoverJobService, () => createCoverJobService(context, coverJobs));
  offer("video", CoverJobAdminService, () => createCoverJobAdminService(coverJobs));
  offer("favorite", FavoriteService, () => createFavoriteService(context));
  offer("comment", CommentService, () => createCommentService(context));
  offer("relation", RelationService, () => createRelationService(context));
  offer("message", MessageService, () => createMessageService(context));
  if (env.SERVICES.includes("video")) sweeps.push(startRawSweep(context, sweptVideoUploads(context)));
  if (env.SERVICES.includes("user")) sweeps.push(startRawSweep(context, sweptProfileUploads(context)));
  const offerWork = (name: ServiceName, work: string, intervalMs: number, run: () => Promise<unknown>): void => {
    if (env.SERVICES.includes(name)) sweeps.push(repeat({ name: work, intervalMs, log }, run));
  };
  offerWork("video", "removal of deleted videos", removalIntervalMs, createVideoRemoval(context));
  offerWork("video", "removal of old covers", removalIntervalMs, () => removeOldCovers(context));
  offerWork("video", "sweep of abandoned uploads", uploadSweepIntervalMs, () => sweepUploads(context));
  offerWork("video", "sweep of unknown parts", partSweepIntervalMs, () => sweepUnknownParts(context));
  offerWork("user", "removal of replaced pictures", removalIntervalMs, () => removeReplacedImages(context));
  const chat = env.SERVICES.includes("message") ? startChat() : null;
  const publishing = env.SERVICES.includes("video") ? startPublishEvents() : null;

  function startChat() {
    const live = readLiveMessages({ events, nodeId: env.NODE_ID, log });
    return { live, streams: createMessageStreams(context, { identities, live }) };
  }

  function startPublishEvents() {
    const live = readLiveVideos({ events, nodeId: env.NODE_ID, log });
    return { live, streams: createPublishStreams(context, { identities, live }) };
  }

  function addServices(router: ConnectRouter): void {
    for (const add of services) add(router);
  }

  const server = serve({
    hostname: env.HOST,
    port: env.PORT,
    routes: addServices,
    interceptors,
    handlers: {
      ...handlers,
      ...(chat ? { [streamPath]: chat.streams.handle } : {}),
      ...(publishing ? { [publishEventsPath]: publishing.streams.handle } : {}),
    },
    ready: async () => void (await db.execute(sql`SELECT 1`)),
    log,
  });
  const feed = createFeedPurge({ url: env.REDIS_URL, log });
  const invalidation = invalidateByChanges({ events, cache, edge, feed, log });
  const lease =
    env.ADVERTISE_URL === undefined
      ? null
      : announce({
          redisUrl: env.REDIS_URL,
          url: env.ADVERTISE_URL,
          nodeId: env.NODE_ID,
          describe: () => ({ services: env.SERVICES, version: env.VERSION, load: server.pending() }),
          log,
        });
  const stopBackground = [storeDefaultImages(objects, log), ...sweeps];

  return {
    url: server.url,
    cacheStats: cache.stats,
    logLevel: () => logLevelOf(config.current().log, env.LOG_LEVEL),
    async stop(drainMs) {
      if (lease) {
        await lease.withdraw();
        // Until the last gateway knows, its calls are as welcome as ever.
        await Bun.sleep(env.LINGER_MS);
      }
      for (const stop of stopBackground) stop();
      // Streams would go on for longer than anybody waits.
      chat?.streams.close();
      publishing?.streams.close();
      await server.stop(drainMs);
      await Promise.all([chat?.live.close(), publishing?.live.close()]);
      await invalidation.close();
      feed.close();
      await events.close();
      config.close();
      cache.close();
      edge.close();
      passwords.close();
      await revocations.close();
      await closeDatabase();
    },
  };
}
