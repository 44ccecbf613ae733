import { describe, expect, test } from "bun:test";
import { Readable } from "node:stream";

import { createIdGenerator } from "@flick/db/id.ts";
import { profileImages } from "@flick/db/schema/user.ts";
import { createLog } from "@flick/platform/log.ts";
import { ImageKind } from "@flick/proto/gen/flick/user/v1/image_job_pb.ts";
import { eq } from "drizzle-orm";

import { makeRawKey, rawKeyId } from "../raw-key.ts";
import { sweepRawObjects } from "../raw-sweep.ts";
import { outcome as outcomeOf } from "../testing-data.ts";
import { form, pictures, setUpProfileTests } from "../testing-profile.ts";
import { removeReplacedImages } from "./image-removal.ts";
import { sweptProfileUploads } from "./pictures.ts";

const hour = 3_600_000;
const log = createLog({ program: "test", write: () => {} });
const t = setUpProfileTests();

describe("the job of a picture", () => {
  test("says whose it is and what for", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["background", pictures.png]), token);
    const [image] = await t.images(userId);
    const job = await t.claim(image?.id ?? 0);
    expect(job).toMatchObject({ userId: BigInt(userId), kind: ImageKind.BACKGROUND, attempt: 1 });
    expect((await t.origin.imageJobs.claimJob({ jobId: job.jobId })).job).toBeUndefined();
  });

  test("fails for a picture that is cut off, and the old one stays", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["avatar", pictures.png]), token);
    await t.work();
    const { avatar } = await t.profileOf(userId, token);
    await t.update(form(["avatar", pictures.png.subarray(0, pictures.png.length / 2)]), token);
    await t.work();
    const [, cut] = await t.images(userId);
    expect(cut).toMatchObject({ status: "failed", statusReason: expect.stringContaining("damaged"), jobAttempts: 1 });
    expect(await t.origin.objects.head(cut?.rawKey ?? "")).toBeNull();
    expect((await t.profileOf(userId, token)).avatar).toBe(avatar);
  });

  test("of the older of two uploads does not replace the newer one, whichever ends first", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const { userId, token } = await t.origin.signUp();
      await t.update(form(["avatar", pictures.png]), token);
      await t.update(form(["avatar", pictures.jpeg]), token);
      const jobs = await Promise.all((await t.images(userId)).map(({ id }) => t.claim(id)));
      for (const index of order) {
        const job = jobs[index];
        if (job) await t.complete(job, `users/${userId}/${index}-avatar.jpg`);
      }
      expect((await t.profileOf(userId, token)).avatar).toEndWith(`/users/${userId}/1-avatar.jpg`);
      expect((await t.images(userId)).map(({ status }) => status)).toEqual(["replaced", "ready"]);
    }
  });

  test("that is replaced leaves neither object nor row, and the new one stays", async () => {
    const { userId, token } = await t.origin.signUp();
    for (const picture of [pictures.png, pictures.jpeg]) {
      await t.update(form(["avatar", picture]), token);
      await t.work();
    }
    const [old, current] = await t.images(userId);
    const context = { ...t.origin, log, now: () => Date.now() + 31_000 };
    await removeReplacedImages({ ...context, now: Date.now });
    expect(await t.origin.objects.head(old?.imageKey ?? "")).not.toBeNull();
    await removeReplacedImages(context);
    expect(await t.origin.objects.head(old?.imageKey ?? "")).toBeNull();
    expect((await t.images(userId)).map(({ id }) => id)).toEqual([current?.id ?? 0]);
    expect((await fetch((await t.profileOf(userId, token)).avatar ?? "")).status).toBe(200);
  });

  test("of an older upload still counts when the newer one fails, and for the other place", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["avatar", pictures.png]), token);
    await t.update(form(["avatar", pictures.png.subarray(0, 300)]), token);
    await t.update(form(["background", pictures.png]), token);
    const [older, newer] = await t.images(userId);
    const held = await t.claim(older?.id ?? 0);
    await t.work(newer?.id ?? 0);
    await t.work();
    await t.complete(held, `users/${userId}/older-avatar.jpg`);
    const { avatar, backgroundImage } = await t.profileOf(userId, token);
    expect(avatar).toEndWith("/older-avatar.jpg");
    expect(backgroundImage).toEndWith("-background.jpg");
  });

  test("of 20 pictures that are completed at once, the newest shows", async () => {
    const { userId, token } = await t.origin.signUp();
    for (let upload = 0; upload < 20; upload++) await t.update(form(["avatar", pictures.gif]), token);
    const jobs = await Promise.all((await t.images(userId)).map(({ id }) => t.claim(id)));
    await Promise.all(jobs.map((job) => t.complete(job, `users/${userId}/${job.jobId}-avatar.jpg`)));
    expect((await t.profileOf(userId, token)).avatar).toEndWith(`/${jobs.at(-1)?.jobId}-avatar.jpg`);
  });

  test("is taken over when its worker dies, who can do nothing any more if it wakes up", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["avatar", pictures.png]), token);
    const [image] = await t.images(userId);
    const late = await t.claim(image?.id ?? 0);
    await t.origin.db
      .update(profileImages)
      .set({ jobDueAt: 1 })
      .where(eq(profileImages.id, image?.id ?? 0));
    await t.work();
    const { avatar } = await t.profileOf(userId, token);
    const { jobId, fence } = late;
    const calls = [
      t.origin.imageJobs.renewJob({ jobId, fence }),
      t.complete(late, "users/stale.jpg"),
      t.origin.imageJobs.failJob({ jobId, fence, reason: "late", permanent: true }),
    ];
    expect(await Promise.all(calls.map(outcomeOf))).toEqual(["CLAIM_LOST", "CLAIM_LOST", "CLAIM_LOST"]);
    expect((await t.profileOf(userId, token)).avatar).toBe(avatar);
    expect(avatar).toEndWith("-avatar.jpg");
  });

  test("may be completed twice with one claim, since the first answer may have been lost", async () => {
    const { userId, token } = await t.origin.signUp();
    await t.update(form(["avatar", pictures.png]), token);
    const [image] = await t.images(userId);
    const job = await t.claim(image?.id ?? 0);
    for (let time = 0; time < 2; time++) await t.complete(job, `users/${userId}/a-avatar.jpg`);
    expect((await t.profileOf(userId, token)).avatar).toEndWith("/a-avatar.jpg");
  });

  test("is not open to viewers", async () => {
    const { token } = await t.origin.signUp();
    const response = await fetch(`${t.origin.url}/flick.user.v1.ImageJobService/ListDueJobs`, {
      method: "POST",
      body: new Uint8Array(5),
      headers: { "content-type": "application/grpc-web+proto", authorization: `Bearer ${token}` },
    });
    expect(response.headers.get("grpc-status") ?? (await response.text())).toContain("7");
  });
});

test("an upload without a row, or whose job has ended, is swept after a day and an hour; one that is waited for stays", async () => {
  const { userId, token } = await t.origin.signUp();
  await t.update(form(["avatar", pictures.png]), token);
  const [waiting] = await t.images(userId);
  const newId = createIdGenerator(2);
  const [orphan, ended] = [makeRawKey("raw-images", newId()), makeRawKey("raw-images", newId())];
  for (const key of [orphan, ended])
    await t.origin.objects.put(key, Readable.from([pictures.png]), { contentType: "image/png" });
  const done = { id: rawKeyId(ended) ?? 0, rawKey: ended, status: "ready" as const, kind: "avatar" as const };
  await t.origin.db.insert(profileImages).values({ ...done, userId: 1, createdAt: 1, jobDueAt: 1 });

  const { objects, db } = t.origin;
  const sweep = (later: number) =>
    sweepRawObjects({ objects, log, now: () => Date.now() + later }, sweptProfileUploads({ db }));
  await sweep(24 * hour);
  expect(await objects.head(orphan)).not.toBeNull();
  await sweep(26 * hour);
  expect(await objects.head(orphan)).toBeNull();
  expect(await objects.head(ended)).toBeNull();
  expect(await objects.head(waiting?.rawKey ?? "")).not.toBeNull();
});
