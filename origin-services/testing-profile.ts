import { afterAll, beforeAll } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { codeToHttpStatus, errorFromJson } from "@connectrpc/connect/protocol-connect";
import { profileImages } from "@flick/db/schema/user.ts";
import { createFfmpeg } from "@flick/media-worker/ffmpeg.ts";
import { createJobKind, type JobKind } from "@flick/media-worker/job.ts";
import { createImageProcessor } from "@flick/media-worker/process-image.ts";
import { makeClip } from "@flick/media-worker/testing.ts";
import { createWorkDir, type WorkDir } from "@flick/media-worker/work-dir.ts";
import { createLog } from "@flick/platform/log.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { ImageJobService, type Job } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { UpdateUserResponseSchema, type User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { asc, eq } from "drizzle-orm";

import { startTestOrigin, testServiceSecret, type TestOrigin } from "./testing.ts";
import { profilePath } from "./testing-uploads.ts";

const never = AbortSignal.any([]);
/** There while a test runs. */
export const pictures = { png: Buffer.alloc(0), jpeg: Buffer.alloc(0), gif: Buffer.alloc(0) };

/** Starts an origin and a media worker for the tests of one file; the fields of the result are there while a test runs. */
export function setUpProfileTests() {
  let dir: string;
  let workDir: WorkDir;
  let worker: JobKind;
  const t = {
    origin: {} as TestOrigin,

    /** The user in the answer, or the name of the reason that the upload was refused for. */
    async update(body: FormData, token?: string): Promise<User | string | undefined> {
      const response = await t.origin.upload(body, { path: profilePath, ...(token === undefined ? {} : { token }) });
      const json = (await response.json()) as JsonValue;
      if (response.ok) return fromJson(UpdateUserResponseSchema, json).user;
      const error = errorFromJson(json, undefined, new Error("no Connect error") as never);
      const status = codeToHttpStatus(error.code);
      if (response.status !== status) throw new Error(`HTTP ${response.status} in place of ${status}`);
      return Reason[reasonOf(error)];
    },

    async profileOf(userId: number, token: string): Promise<User> {
      const { user } = await t.origin.as(token).user.getUser({ userId: BigInt(userId) });
      if (!user) throw new Error("there is no such user");
      return user;
    },

    /** A user's pictures, oldest first. */
    images: (userId: number) =>
      t.origin.db.select().from(profileImages).where(eq(profileImages.userId, userId)).orderBy(asc(profileImages.id)),

    /** Does what is due, or of that only the job of one picture. */
    async work(imageId?: number): Promise<void> {
      const due = imageId === undefined ? await worker.listDue(100) : [BigInt(imageId)];
      for (const jobId of due) await worker.work(jobId, never);
    },

    async claim(imageId: number): Promise<Job> {
      const { job } = await t.origin.imageJobs.claimJob({ jobId: BigInt(imageId) });
      if (!job) throw new Error("there was nothing to claim");
      return job;
    },

    complete: ({ jobId, fence }: Job, imageKey: string) => t.origin.imageJobs.completeJob({ jobId, fence, imageKey }),
    rawObjects: async () => (await t.origin.objects.list("raw-images/")).length,
    rows: () => t.origin.db.$count(profileImages),
  };

  beforeAll(async () => {
    t.origin = await startTestOrigin({}, { store: true });
    dir = await mkdtemp(join(tmpdir(), "flick-profile-"));
    workDir = await createWorkDir(join(dir, "work"));
    const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
    const transport = createServiceTransport({ baseUrl: t.origin.url, serviceToken, timeoutMs: 5_000 });
    const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
    const limits = { maxInputBytes: 10_485_760, maxDurationS: 600, maxPixels: 4096 * 4096 };
    worker = createJobKind({
      name: "image",
      topic: "cdc.profile_images",
      jobs: createClient(ImageJobService, transport),
      process: createImageProcessor({ store: t.origin.objects, ffmpeg, workDir, limits }),
      reserve: () => Promise.resolve(() => {}),
      ourFault: "our fault",
      otherIds: ({ userId }) => [userId],
      log: createLog({ program: "worker", write: () => {} }),
    });
    for (const [name, file] of Object.entries({ png: "a.png", jpeg: "a.jpg", gif: "a.gif" })) {
      await makeClip(dir, `-f lavfi -i testsrc2=s=640x360 -frames:v 1 ${file}`);
      pictures[name as keyof typeof pictures] = await readFile(join(dir, file));
    }
  }, 60_000);

  afterAll(async () => {
    await workDir.close();
    await rm(dir, { recursive: true });
    await t.origin.stop();
  });
  return t;
}

export type Part = [field: string, value: string | Uint8Array, fileName?: string];

export function form(...parts: Part[]): FormData {
  const body = new FormData();
  for (const [field, value, fileName = "me.png"] of parts) {
    if (typeof value === "string") body.append(field, value);
    else body.append(field, new Blob([new Uint8Array(value)]), fileName);
  }
  return body;
}
