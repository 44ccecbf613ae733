import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { codeToHttpStatus, errorFromJson } from "@connectrpc/connect/protocol-connect";
import { createIdGenerator } from "@flick/db/id.ts";
import { profileImages } from "@flick/db/schema/user.ts";
import { createFfmpeg } from "@flick/media-worker/ffmpeg.ts";
import { createJobKind, type JobKind } from "@flick/media-worker/job.ts";
import { createImageProcessor } from "@flick/media-worker/process-image.ts";
import { withExif } from "@flick/media-worker/testing-images.ts";
import { makeClip } from "@flick/media-worker/testing.ts";
import { createWorkDir, type WorkDir } from "@flick/media-worker/work-dir.ts";
import { createLog } from "@flick/platform/log.ts";
import { createServiceTokenSigner } from "@flick/platform/service-token.ts";
import { createServiceTransport } from "@flick/platform/service-transport.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { ImageJobService, ImageKind, type Job } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { UpdateUserResponseSchema, type User } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { asc, eq } from "drizzle-orm";

import { makeRawKey, rawKeyId } from "../raw-key.ts";
import { sweepRawObjects } from "../raw-sweep.ts";
import { outcome as outcomeOf } from "../testing-data.ts";
import { startTestOrigin, testServiceSecret, type TestOrigin } from "../testing.ts";
import { profilePath } from "../testing-uploads.ts";
import { removeReplacedImages } from "./image-removal.ts";
import { sweptProfileUploads } from "./pictures.ts";

const hour = 3_600_000;
const never = AbortSignal.any([]);
const pictures = { png: Buffer.alloc(0), jpeg: Buffer.alloc(0), gif: Buffer.alloc(0) };

let origin: TestOrigin;
let dir: string;
let workDir: WorkDir;
let worker: JobKind;

beforeAll(async () => {
  origin = await startTestOrigin({}, { store: true });
  dir = await mkdtemp(join(tmpdir(), "flick-profile-"));
  workDir = await createWorkDir(join(dir, "work"));
  const serviceToken = createServiceTokenSigner("media-worker", testServiceSecret);
  const transport = createServiceTransport({ baseUrl: origin.url, serviceToken, timeoutMs: 5_000 });
  const ffmpeg = createFfmpeg({ ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" });
  const limits = { maxInputBytes: 10_485_760, maxDurationS: 600, maxPixels: 4096 * 4096 };
  worker = createJobKind({
    name: "image",
    topic: "cdc.profile_images",
    jobs: createClient(ImageJobService, transport),
    process: createImageProcessor({ store: origin.objects, ffmpeg, workDir, limits }),
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
  await origin.stop();
});

type Part = [field: string, value: string | Uint8Array, fileName?: string];

function form(...parts: Part[]): FormData {
  const body = new FormData();
  for (const [field, value, fileName = "me.png"] of parts) {
    if (typeof value === "string") body.append(field, value);
    else body.append(field, new Blob([new Uint8Array(value)]), fileName);
  }
  return body;
}

/** The user in the answer, or the name of the reason that the upload was refused for. */
async function update(body: FormData, token?: string): Promise<User | string | undefined> {
  const response = await origin.upload(body, { path: profilePath, ...(token === undefined ? {} : { token }) });
  const json = (await response.json()) as JsonValue;
  if (response.ok) return fromJson(UpdateUserResponseSchema, json).user;
  const error = errorFromJson(json, undefined, new Error("no Connect error") as never);
  expect(response.status).toBe(codeToHttpStatus(error.code));
  return Reason[reasonOf(error)];
}

async function profileOf(userId: number, token: string): Promise<User> {
  const { user } = await origin.as(token).user.getUser({ userId: BigInt(userId) });
  if (!user) throw new Error("there is no such user");
  return user;
}

/** A user's pictures, oldest first. */
const images = (userId: number) =>
  origin.db.select().from(profileImages).where(eq(profileImages.userId, userId)).orderBy(asc(profileImages.id));

/** Does what is due. */
async function work(): Promise<void> {
  for (const jobId of await worker.listDue(100)) await worker.work(jobId, never);
}

async function claim(imageId: number): Promise<Job> {
  const { job } = await origin.imageJobs.claimJob({ jobId: BigInt(imageId) });
  if (!job) throw new Error("there was nothing to claim");
  return job;
}

const complete = ({ jobId, fence }: Job, imageKey: string) => origin.imageJobs.completeJob({ jobId, fence, imageKey });
const rawObjects = async () => (await origin.objects.list("raw-images/")).length;
const rows = () => origin.db.$count(profileImages);

describe("a new profile", () => {
  test("has its text at once and its pictures when they are ready, and the uploads are gone then", async () => {
    const { userId, token } = await origin.signUp();
    const before = await profileOf(userId, token);
    const body = form(["avatar", withExif(pictures.jpeg, 1)], ["background", pictures.png], ["signature", "Hello 👋"]);
    const answer = await update(body, token);
    expect(answer).toMatchObject({ id: BigInt(userId), signature: "Hello 👋", avatar: before.avatar });

    await work();
    const [avatar, background] = await images(userId);
    const after = await profileOf(userId, token);
    expect(after.avatar).toEndWith(`/users/${userId}/${avatar?.id}-avatar.jpg`);
    expect(after.backgroundImage).toEndWith(`/users/${userId}/${background?.id}-background.jpg`);
    for (const url of [after.avatar, after.backgroundImage]) {
      const bytes = Buffer.from(await (await fetch(url)).arrayBuffer());
      expect(bytes.subarray(0, 3).toString("hex")).toBe("ffd8ff");
      expect(bytes.includes("Exif")).toBe(false);
    }
    expect([avatar?.status, background?.status]).toEqual(["ready", "ready"]);
    expect(await origin.objects.head(avatar?.rawKey ?? "")).toBeNull();
    expect(await origin.objects.head(background?.rawKey ?? "")).toBeNull();
  });

  test("keeps what it was not sent", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["signature", "first"]), token);
    await update(form(["avatar", pictures.gif]), token);
    await work();
    expect(await profileOf(userId, token)).toMatchObject({
      signature: "first",
      avatar: expect.stringContaining(`/users/${userId}/`),
      backgroundImage: expect.stringContaining("/defaults/"),
    });
  });

  test("may be sent with the token behind the file, and with fields for files that were left empty", async () => {
    const { userId, token } = await origin.signUp();
    const body = form(["avatar", pictures.png], ["background", new Uint8Array(), ""], ["token", token]);
    expect(await update(body)).toMatchObject({ id: BigInt(userId) });
    expect(await images(userId)).toMatchObject([{ kind: "avatar", status: "uploaded" }]);
  });

  test("is kept out of everybody's reach until it is ready: the upload has a private key of its own", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["avatar", pictures.png]), token);
    const [image] = await images(userId);
    expect(image?.rawKey).toMatch(/^raw-images\/\d{16}-[0-9a-f]{32}$/);
    expect((await fetch(origin.objects.publicUrl(image?.rawKey ?? ""))).status).toBe(403);
  });
});

describe("a signature", () => {
  const ways: [string, (token: string, text: string) => Promise<string | undefined>][] = [
    [
      "by a form",
      async (token, text) => {
        const answer = await update(form(["signature", text]), token);
        return typeof answer === "object" ? answer.signature : answer;
      },
    ],
    [
      "by a call",
      (token, text) =>
        origin
          .as(token)
          .user.updateUser({ signature: text })
          .then(
            ({ user }) => user?.signature,
            (error: unknown) => Reason[reasonOf(error)],
          ),
    ],
  ];
  test.each(ways)("%s has up to 255 characters, and goes back to the default", async (_way, set) => {
    const { userId, token } = await origin.signUp();
    const standard = (await profileOf(userId, token)).signature;
    expect(await set(token, "🎬".repeat(255))).toBe("🎬".repeat(255));
    expect(await set(token, "  as written  ")).toBe("as written");
    for (const refused of ["🎬".repeat(256), "\u200B\u200D", "   "]) {
      expect(await set(token, refused)).toBe("INVALID_PARAMETER");
    }
    expect((await profileOf(userId, token)).signature).toBe("as written");
    expect(await set(token, "")).toBe(standard);
    expect((await profileOf(userId, token)).signature).toBe(standard);
  });

  test("that is not there changes nothing", async () => {
    const { token } = await origin.signUp();
    expect(await outcomeOf(origin.as(token).user.updateUser({}))).toBe("INVALID_PARAMETER");
  });
});

describe("an update is refused, and leaves nothing behind, when", () => {
  const large = Buffer.alloc(11_000_000);
  const cases: [what: string, make: () => FormData, reason: string][] = [
    ["the picture is none", () => form(["avatar", Buffer.from("no picture at all")]), "NOT_AN_IMAGE"],
    ["it is SVG", () => form(["avatar", Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>")]), "NOT_AN_IMAGE"],
    ["it is HTML by the name of a PNG", () => form(["background", Buffer.from("<!doctype html>")]), "NOT_AN_IMAGE"],
    ["it is empty", () => form(["avatar", new Uint8Array()]), "NOT_AN_IMAGE"],
    ["one of two is none", () => form(["avatar", pictures.png], ["background", Buffer.alloc(99)]), "NOT_AN_IMAGE"],
    ["it has 11 MB", () => form(["avatar", Buffer.concat([pictures.png, large])]), "TOO_LARGE"],
    ["there are two avatars", () => form(["avatar", pictures.png], ["avatar", pictures.png]), "INVALID_PARAMETER"],
    ["a file has another name", () => form(["data", pictures.png]), "INVALID_PARAMETER"],
    ["its text is too long", () => form(["avatar", pictures.png], ["signature", "x".repeat(256)]), "INVALID_PARAMETER"],
    ["its text cannot be seen", () => form(["signature", "\u200B"], ["avatar", pictures.png]), "INVALID_PARAMETER"],
    ["there is nothing in it", () => form(["avatar", new Uint8Array(), ""]), "INVALID_PARAMETER"],
  ];
  test.each(cases)("%s", async (_what, make, reason) => {
    const { token } = await origin.signUp();
    const before = [await rawObjects(), await rows()];
    expect(await update(make(), token)).toBe(reason);
    expect([await rawObjects(), await rows()]).toEqual(before);
  });

  test("nobody is signed in", async () => {
    const before = [await rawObjects(), await rows()];
    expect(await update(form(["avatar", pictures.png]))).toBe("UNAUTHENTICATED");
    expect(await update(form(["avatar", pictures.png]), "forged")).toBe("UNAUTHENTICATED");
    expect(await update(form(["avatar", pictures.png], ["token", "forged"]))).toBe("UNAUTHENTICATED");
    expect(await outcomeOf(origin.as().user.updateUser({ signature: "x" }))).toBe("UNAUTHENTICATED");
    expect([await rawObjects(), await rows()]).toEqual(before);
  });
});

describe("the job of a picture", () => {
  test("says whose it is and what for", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["background", pictures.png]), token);
    const [image] = await images(userId);
    const job = await claim(image?.id ?? 0);
    expect(job).toMatchObject({ userId: BigInt(userId), kind: ImageKind.BACKGROUND, attempt: 1 });
    expect((await origin.imageJobs.claimJob({ jobId: job.jobId })).job).toBeUndefined();
  });

  test("fails for a picture that is cut off, and the old one stays", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["avatar", pictures.png]), token);
    await work();
    const { avatar } = await profileOf(userId, token);
    await update(form(["avatar", pictures.png.subarray(0, pictures.png.length / 2)]), token);
    await work();
    const [, cut] = await images(userId);
    expect(cut).toMatchObject({ status: "failed", statusReason: expect.stringContaining("damaged"), jobAttempts: 1 });
    expect(await origin.objects.head(cut?.rawKey ?? "")).toBeNull();
    expect((await profileOf(userId, token)).avatar).toBe(avatar);
  });

  test("of the older of two uploads does not replace the newer one, whichever ends first", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const { userId, token } = await origin.signUp();
      await update(form(["avatar", pictures.png]), token);
      await update(form(["avatar", pictures.jpeg]), token);
      const jobs = await Promise.all((await images(userId)).map(({ id }) => claim(id)));
      for (const index of order) {
        const job = jobs[index];
        if (job) await complete(job, `users/${userId}/${index}-avatar.jpg`);
      }
      expect((await profileOf(userId, token)).avatar).toEndWith(`/users/${userId}/1-avatar.jpg`);
      expect((await images(userId)).map(({ status }) => status)).toEqual(["replaced", "ready"]);
    }
  });

  test("that is replaced leaves neither object nor row, and the new one stays", async () => {
    const { userId, token } = await origin.signUp();
    for (const picture of [pictures.png, pictures.jpeg]) {
      await update(form(["avatar", picture]), token);
      await work();
    }
    const [old, current] = await images(userId);
    const context = { ...origin, log: createLog({ program: "test", write: () => {} }), now: () => Date.now() + 31_000 };
    await removeReplacedImages({ ...context, now: Date.now });
    expect(await origin.objects.head(old?.imageKey ?? "")).not.toBeNull();
    await removeReplacedImages(context);
    expect(await origin.objects.head(old?.imageKey ?? "")).toBeNull();
    expect((await images(userId)).map(({ id }) => id)).toEqual([current?.id ?? 0]);
    expect((await fetch((await profileOf(userId, token)).avatar ?? "")).status).toBe(200);
  });

  test("of an older upload still counts when the newer one fails, and for the other place", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["avatar", pictures.png]), token);
    await update(form(["avatar", pictures.png.subarray(0, 300)]), token);
    await update(form(["background", pictures.png]), token);
    const [older, newer] = await images(userId);
    const held = await claim(older?.id ?? 0);
    await worker.work(BigInt(newer?.id ?? 0), never);
    await work();
    await complete(held, `users/${userId}/older-avatar.jpg`);
    const { avatar, backgroundImage } = await profileOf(userId, token);
    expect(avatar).toEndWith("/older-avatar.jpg");
    expect(backgroundImage).toEndWith("-background.jpg");
  });

  test("of 20 pictures that are completed at once, the newest shows", async () => {
    const { userId, token } = await origin.signUp();
    for (let upload = 0; upload < 20; upload++) await update(form(["avatar", pictures.gif]), token);
    const jobs = await Promise.all((await images(userId)).map(({ id }) => claim(id)));
    await Promise.all(jobs.map((job) => complete(job, `users/${userId}/${job.jobId}-avatar.jpg`)));
    expect((await profileOf(userId, token)).avatar).toEndWith(`/${jobs.at(-1)?.jobId}-avatar.jpg`);
  });

  test("is taken over when its worker dies, who can do nothing any more if it wakes up", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["avatar", pictures.png]), token);
    const [image] = await images(userId);
    const late = await claim(image?.id ?? 0);
    await origin.db
      .update(profileImages)
      .set({ jobDueAt: 1 })
      .where(eq(profileImages.id, image?.id ?? 0));
    await work();
    const { avatar } = await profileOf(userId, token);
    const { jobId, fence } = late;
    const calls = [
      origin.imageJobs.renewJob({ jobId, fence }),
      complete(late, "users/stale.jpg"),
      origin.imageJobs.failJob({ jobId, fence, reason: "late", permanent: true }),
    ];
    expect(await Promise.all(calls.map(outcomeOf))).toEqual(["CLAIM_LOST", "CLAIM_LOST", "CLAIM_LOST"]);
    expect((await profileOf(userId, token)).avatar).toBe(avatar);
    expect(avatar).toEndWith("-avatar.jpg");
  });

  test("may be completed twice with one claim, since the first answer may have been lost", async () => {
    const { userId, token } = await origin.signUp();
    await update(form(["avatar", pictures.png]), token);
    const [image] = await images(userId);
    const job = await claim(image?.id ?? 0);
    for (let time = 0; time < 2; time++) await complete(job, `users/${userId}/a-avatar.jpg`);
    expect((await profileOf(userId, token)).avatar).toEndWith("/a-avatar.jpg");
  });

  test("is not open to viewers", async () => {
    const { token } = await origin.signUp();
    const response = await fetch(`${origin.url}/flick.user.v1.ImageJobService/ListDueJobs`, {
      method: "POST",
      body: new Uint8Array(5),
      headers: { "content-type": "application/grpc-web+proto", authorization: `Bearer ${token}` },
    });
    expect(response.headers.get("grpc-status") ?? (await response.text())).toContain("7");
  });
});

test("an upload without a row, or whose job has ended, is swept after a day and an hour; one that is waited for stays", async () => {
  const { userId, token } = await origin.signUp();
  await update(form(["avatar", pictures.png]), token);
  const [waiting] = await images(userId);
  const newId = createIdGenerator(2);
  const [orphan, ended] = [makeRawKey("raw-images", newId()), makeRawKey("raw-images", newId())];
  for (const key of [orphan, ended]) await origin.objects.put(key, join(dir, "a.png"), { contentType: "image/png" });
  const done = { id: rawKeyId(ended) ?? 0, rawKey: ended, status: "ready" as const, kind: "avatar" as const };
  await origin.db.insert(profileImages).values({ ...done, userId: 1, createdAt: 1, jobDueAt: 1 });

  const { objects, db } = origin;
  const log = createLog({ program: "tests", write: () => {} });
  const sweep = (later: number) =>
    sweepRawObjects({ objects, log, now: () => Date.now() + later }, sweptProfileUploads({ db }));
  await sweep(24 * hour);
  expect(await objects.head(orphan)).not.toBeNull();
  await sweep(26 * hour);
  expect(await objects.head(orphan)).toBeNull();
  expect(await objects.head(ended)).toBeNull();
  expect(await objects.head(waiting?.rawKey ?? "")).not.toBeNull();
});
