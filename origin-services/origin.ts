import type { ConnectRouter } from "@connectrpc/connect";
import { connectDatabase } from "@flick/db/client.ts";
import { createIdGenerator } from "@flick/db/id.ts";
import type { Log } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import { createServiceTokenSigner, createServiceTokenVerifier } from "@flick/platform/service-token.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { MediaJobService, VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { uploadPath } from "@flick/proto/upload.ts";
import { sql } from "drizzle-orm";

import { createClients } from "./clients.ts";
import type { Context } from "./context.ts";
import type { OriginEnv } from "./env.ts";
import { createCallerInterceptor, createDeadlineInterceptor, createErrorInterceptor } from "./interceptors.ts";
import { serve } from "./server.ts";
import { loadKeys } from "./user/keys.ts";
import { createPasswords } from "./user/passwords.ts";
import { createTokenIssuer, createTokenVerifier } from "./user/tokens.ts";
import { createUserService } from "./user/user.ts";
import { storeDefaultImages } from "./default-images.ts";
import { createMediaJobService } from "./video/media-jobs.ts";
import { startRawSweep } from "./video/raw-sweep.ts";
import { createUploadHandler } from "./video/upload.ts";
import { createVideoService } from "./video/video.ts";

const callTimeoutMs = 5_000;

/** Starts the services that the environment names, in this process. */
export async function startOrigin(
  env: OriginEnv,
  log: Log,
): Promise<{ url: string; stop(drainMs: number): Promise<void> }> {
  const keys = await loadKeys(env);
  const identities = {
    viewer: createTokenVerifier(keys.publicKeys),
    service: createServiceTokenVerifier(env.SERVICE_TOKEN_SECRET),
  };
  const interceptors = [createErrorInterceptor(log), createCallerInterceptor(identities), createDeadlineInterceptor()];
  const { db, close: closeDatabase } = connectDatabase({ url: env.MYSQL_URL, connections: env.MYSQL_CONNECTIONS });
  const objects = createObjectStore({
    endpoint: env.OSS_URL,
    ...(env.OSS_PUBLIC_URL ? { publicUrl: env.OSS_PUBLIC_URL } : {}),
    region: env.OSS_REGION,
    bucket: env.OSS_BUCKET,
    accessKeyId: env.OSS_ACCESS_KEY_ID,
    accessKeySecret: env.OSS_ACCESS_KEY_SECRET,
  });
  const passwords = createPasswords({ threads: env.PASSWORD_THREADS });

  const context: Context = {
    db,
    objects,
    clients: createClients({
      local: env.SERVICES,
      routes: addServices,
      interceptors,
      urls: { user: env.USER_SERVICE_URL, video: env.VIDEO_SERVICE_URL },
      serviceToken: createServiceTokenSigner("origin", env.SERVICE_TOKEN_SECRET),
      timeoutMs: callTimeoutMs,
    }),
    log,
    now: Date.now,
    newId: createIdGenerator(env.NODE_ID),
  };
  const user =
    keys.privateKey &&
    createUserService(context, { passwords, issueToken: createTokenIssuer(keys.privateKey, env.TOKEN_TTL_S) });
  const video = env.SERVICES.includes("video") && createVideoService(context);
  const mediaJobs = video && createMediaJobService(context);

  function addServices(router: ConnectRouter): void {
    if (user) router.service(UserService, user);
    if (video) router.service(VideoService, video);
    if (mediaJobs) router.service(MediaJobService, mediaJobs);
  }

  const server = serve({
    hostname: env.HOST,
    port: env.PORT,
    routes: addServices,
    interceptors,
    handlers: video
      ? { [uploadPath]: createUploadHandler(context, { identities, maxFileBytes: env.MAX_UPLOAD_BYTES }) }
      : {},
    ready: async () => void (await db.execute(sql`SELECT 1`)),
    log,
  });
  const stopBackground = [storeDefaultImages(objects, log), video ? startRawSweep(context) : () => {}];

  return {
    url: server.url,
    async stop(drainMs) {
      for (const stop of stopBackground) stop();
      await server.stop(drainMs);
      passwords.close();
      await closeDatabase();
    },
  };
}
