import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { Database } from "@flick/db/client.ts";
import { createTestDatabase } from "@flick/db/testing.ts";
import { credentials, startTestStore } from "@flick/dev/oss-store/testing.ts";
import { startRedis, testServers } from "@flick/dev/testing.ts";
import { createLog } from "@flick/platform/log.ts";
import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { CommentService } from "@flick/proto/gen/flick/comment/v1/comment_pb.ts";
import { FavoriteService } from "@flick/proto/gen/flick/favorite/v1/favorite_pb.ts";
import { MessageService } from "@flick/proto/gen/flick/message/v1/message_pb.ts";
import { RelationService } from "@flick/proto/gen/flick/relation/v1/relation_pb.ts";
import { ImageJobService } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { CoverJobService } from "@flick/proto/gen/flick/video/v1/cover_job_pb.ts";
import { UploadService } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { MediaJobAdminService, MediaJobService, VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import type { CacheStats } from "./cache.ts";
import type { Clients } from "./clients.ts";
import { readOriginEnv } from "./env.ts";
import { startOrigin } from "./origin.ts";
import { serveUploads, videoPath } from "./testing-uploads.ts";

export interface TestOrigin {
  url: string;
  db: Database;
  mysqlUrl: string;
  redisUrl: string;
  cacheStats(): CacheStats;
  objects: ObjectStore;
  jobs: Client<typeof MediaJobService>;
  imageJobs: Client<typeof ImageJobService>;
  coverJobs: Client<typeof CoverJobService>;
  /** Those of operators. */
  jobAdmin: Client<typeof MediaJobAdminService>;
  /** Lines that the origin has logged. */
  logged: string[];
  /** Where the key of the tokens is, for tests that forge some. */
  keyFile: string;
  /** Clients of a viewer, or of nobody. */
  as(token?: string): Clients & { uploads: Client<typeof UploadService> };
  /** A new account with a name of its own. */
  signUp(): Promise<{ userId: number; token: string; name: string }>;
  /** Where the gateway's uploads in front of it are. */
  uploadUrl: string;
  upload(
    body: Bun.BodyInit,
    init?: { token?: string; headers?: Record<string, string>; query?: string; path?: string },
  ): Promise<Response>;
  stop(): Promise<void>;
}

/** What the tests' service tokens are signed with. */
export const testServiceSecret = "a secret that only these tests know of";

/**
 * An origin over a database of its own, spoken to by gRPC-web.
 *
 * @param overrides settings that differ from the defaults.
 * @param own.mysqlUrl the server to make the database in, when it is not the tests' shared one. @param own.store an object store of its
 * own, for tests that count or sweep what is there: into the shared one, others put theirs at the same time.
 */
export async function startTestOrigin(
  overrides: Record<string, string> = {},
  own: { mysqlUrl?: string; store?: boolean } = {},
): Promise<TestOrigin> {
  const servers = await testServers();
  const database = await createTestDatabase(own.mysqlUrl ?? servers.mysqlUrl);
  const ownStore = own.store ? startTestStore() : null;
  const store = ownStore ? { endpoint: ownStore.url, ...credentials } : { endpoint: servers.ossUrl, ...servers.oss };
  const dir = await mkdtemp(join(tmpdir(), "flick-origin-"));
  // Its own, because the cache goes with the database.
  const redis = overrides["REDIS_URL"] ? null : await startRedis({ dir: join(dir, "redis") });
  const env = readOriginEnv({
    PORT: "0",
    MYSQL_URL: database.url,
    REDIS_URL: redis?.url ?? "",
    OSS_URL: store.endpoint,
    OSS_REGION: store.region,
    OSS_BUCKET: store.bucket,
    OSS_ACCESS_KEY_ID: store.accessKeyId,
    OSS_ACCESS_KEY_SECRET: store.accessKeySecret,
    JWT_PRIVATE_KEY_FILE: join(dir, "jwt.json"),
    JWT_CREATE_KEY: "true",
    SERVICE_TOKEN_SECRET: testServiceSecret,
    ...overrides,
  });
  const logged: string[] = [];
  const log = createLog({ program: "origin", level: "debug", write: (line) => logged.push(line) });
  const origin = await startOrigin(env, log);
  const serviceToken = createServiceTokenSigner("tests", testServiceSecret);
  const asService = createServiceTransport({ baseUrl: origin.url, serviceToken, timeoutMs: 10_000 });
  let users = 0;

  const self: TestOrigin = {
    url: origin.url,
    db: database.db,
    mysqlUrl: database.url,
    redisUrl: env.REDIS_URL,
    cacheStats: origin.cacheStats,
    objects: createObjectStore(store),
    jobs: createClient(MediaJobService, asService),
    imageJobs: createClient(ImageJobService, asService),
    coverJobs: createClient(CoverJobService, asService),
    jobAdmin: createClient(MediaJobAdminService, asService),
    logged,
    get uploadUrl() {
      return uploads.url;
    },
    keyFile: env.JWT_PRIVATE_KEY_FILE ?? "",
    as(token) {
      const addToken: Interceptor = (next) => (request) => {
        if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      };
      const transport = createGrpcWebTransport({ baseUrl: origin.url, interceptors: [addToken] });
      return {
        user: createClient(UserService, transport),
        video: createClient(VideoService, transport),
        uploads: createClient(UploadService, transport),
        favorite: createClient(FavoriteService, transport),
        comment: createClient(CommentService, transport),
        relation: createClient(RelationService, transport),
        message: createClient(MessageService, transport),
      };
    },
    async signUp() {
      const name = `user ${++users}`;
      const { userId, token } = await self.as().user.register({ username: name, password: "a good password" });
      return { userId: Number(userId), token, name };
    },
    upload(body, init = {}) {
      const authorization = init.token === undefined ? {} : { authorization: `Bearer ${init.token}` };
      return fetch(`${uploads.url}${init.path ?? videoPath}${init.query ?? ""}`, {
        method: "POST",
        body,
        headers: { ...authorization, ...init.headers },
      });
    },
    async stop() {
      await uploads.stop();
      await origin.stop(5_000);
      await redis?.stop();
      await ownStore?.remove();
      await database.drop();
      await rm(dir, { recursive: true });
    },
  };
  const uploads = serveUploads(self.as(), env.MAX_UPLOAD_BYTES);
  return self;
}
