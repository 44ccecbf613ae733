import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";

import { uploads, videos, workCounts } from "@flick/db/schema/video.ts";
import type { Upload } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { eq } from "drizzle-orm";

import { sweepRawObjects } from "../raw-sweep.ts";
import { outcome } from "../testing-data.ts";
import { startTestOrigin, type TestOrigin } from "../testing.ts";
import { endUpload, sweepUnknownParts, sweepUploads, sweptVideoUploads } from "./upload-sweep.ts";

setDefaultTimeout(60_000);

const hour = 3_600_000;
const maxFileBytes = 40 * 2 ** 20;
let origin: TestOrigin;
let author: { userId: number; token: string };

beforeAll(async () => {
  origin = await startTestOrigin({ MAX_UPLOAD_BYTES: String(maxFileBytes) }, { store: true });
}, 60_000);
afterAll(() => origin.stop());
beforeEach(async () => {
  author = await origin.signUp();
});

/** Bytes of their own that begin like an MP4. */
function makeFile(size: number): Buffer {
  const bytes = randomBytes(size);
  bytes.write("\0\0\0\x20ftypisom", 0, "latin1");
  return bytes;
}

const sha256Of = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const announce = (file: Buffer) => ({
  title: "a title",
  size: BigInt(file.length),
  contentType: "video/mp4",
  sha256: sha256Of(file),
});
const uploadsOf = (token = author.token) => origin.as(token).uploads;

async function putParts(file: Buffer, upload: Upload, which = upload.missingParts): Promise<void> {
  for (const { number, size, url } of which) {
    const from = (number - 1) * Number(upload.partBytes);
    const body = new Uint8Array(file.subarray(from, from + Number(size)));
    const response = await fetch(url, { method: "PUT", body, headers: { "content-type": upload.contentType } });
    expect(response.status).toBe(200);
  }
}

/** Begins, puts and completes. */
async function uploadWhole(file: Buffer, token = author.token): Promise<bigint> {
  const upload = await uploadsOf(token).beginUpload(announce(file));
  await putParts(file, upload);
  return (await uploadsOf(token).completeUpload({ uploadId: upload.uploadId })).videoId;
}

const rowOf = async (videoId: bigint) =>
  (
    await origin.db
      .select()
      .from(videos)
      .where(eq(videos.id, Number(videoId)))
  )[0];
const openUploadOf = async (uploadId: bigint) =>
  (
    await origin.db
      .select()
      .from(uploads)
      .where(eq(uploads.id, Number(uploadId)))
  )[0];
const rawsOf = async (id: bigint) => {
  const prefix = `raw/${String(id).padStart(16, "0")}-`;
  const [objects, open] = await Promise.all([origin.objects.list(prefix), origin.objects.listUploads(prefix)]);
  return { objects: objects.length, open: open.length };
};
const works = async () =>
  (await origin.db.select().from(workCounts).where(eq(workCounts.userId, author.userId)))[0]?.count ?? 0;
const sweeping = (now: number) => ({
  db: origin.db,
  objects: origin.objects,
  log: { debug() {}, info() {}, warn() {}, error() {} },
  now: () => now,
});

test("a file that was put in parts is a video like any other upload", async () => {
  const file = makeFile(20 * 2 ** 20 + 7);
  const upload = await uploadsOf().beginUpload(announce(file));
  expect(upload.missingParts.map(({ number, size }) => [number, Number(size)])).toEqual([
    [1, 8 * 2 ** 20],
    [2, 8 * 2 ** 20],
    [3, 4 * 2 ** 20 + 7],
  ]);
  await putParts(file, upload, upload.missingParts.toReversed());
  const { videoId } = await uploadsOf().completeUpload({ uploadId: upload.uploadId });
  const row = await rowOf(videoId);
  expect(row).toMatchObject({ authorId: author.userId, title: "a title", status: "uploaded", sha256: sha256Of(file) });
  expect(await origin.objects.head(row?.rawKey ?? "")).toEqual({ size: file.length, contentType: "video/mp4" });
  const { videos: mine } = await origin.as(author.token).video.listPublished({});
  expect(mine.map(({ id, title }) => [id, title])).toEqual([[videoId, "a title"]]);
  expect(Buffer.from(await (await fetch(mine[0]?.playUrl ?? "")).arrayBuffer()).equals(file)).toBe(true);
  expect(await works()).toBe(1);
  const { job } = await origin.jobs.claimJob({ jobId: videoId });
  expect(job).toMatchObject({ rawKey: row?.rawKey, sha256: sha256Of(file), attempt: 1 });
});

test("after a break the upload is found by its file, and only what is missing has to be sent", async () => {
  const file = makeFile(17 * 2 ** 20);
  const begun = await uploadsOf().beginUpload(announce(file));
  await putParts(file, begun, begun.missingParts.slice(1, 2));
  const found = await uploadsOf().beginUpload({ ...announce(file), title: "another title" });
  expect(found.uploadId).toBe(begun.uploadId);
  expect(found.storedParts).toEqual([2]);
  expect(found.missingParts.map(({ number }) => number)).toEqual([1, 3]);
  const named = await uploadsOf().beginUpload({ uploadId: begun.uploadId });
  expect(named.storedParts).toEqual([2]);
  await putParts(file, found);
  const { videoId } = await uploadsOf().completeUpload({ uploadId: found.uploadId });
  expect((await rowOf(videoId))?.title).toBe("another title");
});

test("completing again, at once or later, gives the same video", async () => {
  const file = makeFile(1000);
  const upload = await uploadsOf().beginUpload(announce(file));
  await putParts(file, upload);
  const complete = async () => (await uploadsOf().completeUpload({ uploadId: upload.uploadId })).videoId;
  const answers = new Set(await Promise.all([complete(), complete(), complete()]));
  answers.add(await complete());
  expect([...answers]).toEqual([upload.uploadId]);
  await origin.db.delete(uploads).where(eq(uploads.id, Number(upload.uploadId)));
  expect(await complete()).toBe(upload.uploadId);
  expect(await works()).toBe(1);
});

test("an upload whose completion broke off after the object was made is completed", async () => {
  const file = makeFile(1000);
  const upload = await uploadsOf().beginUpload(announce(file));
  await putParts(file, upload);
  const { rawKey = "", storeUploadId = "" } = (await openUploadOf(upload.uploadId)) ?? {};
  await origin.objects.completeParts(
    rawKey,
    storeUploadId,
    (await origin.objects.listParts(rawKey, storeUploadId)) ?? [],
  );
  const found = await uploadsOf().beginUpload({ uploadId: upload.uploadId });
  expect([found.storedParts, found.missingParts]).toEqual([[1], []]);
  expect((await uploadsOf().completeUpload({ uploadId: upload.uploadId })).videoId).toBe(upload.uploadId);
});

describe("a file that the author has published already", () => {
  test("is not asked for again", async () => {
    const file = makeFile(1000);
    const videoId = await uploadWhole(file);
    const again = await uploadsOf().beginUpload(announce(file));
    expect(again).toMatchObject({ videoId, uploadId: 0n, missingParts: [] });
    expect(await works()).toBe(1);
  });

  test("is stored once when two devices upload it at the same time", async () => {
    const file = makeFile(1000);
    const [one, other] = [
      await uploadsOf().beginUpload({ ...announce(file), contentType: "video/mp4" }),
      // Under another type it is not taken for the first one's upload.
      await uploadsOf().beginUpload({ ...announce(file), sha256: "" }),
    ];
    await origin.db
      .update(uploads)
      .set({ sha256: sha256Of(file) })
      .where(eq(uploads.id, Number(other.uploadId)));
    await putParts(file, one);
    await putParts(file, other);
    const [first, second] = await Promise.all(
      [one, other].map(({ uploadId }) => uploadsOf().completeUpload({ uploadId })),
    );
    expect(first?.videoId).toBe(second?.videoId ?? 0n);
    const raws = await Promise.all([one, other].map(({ uploadId }) => rawsOf(uploadId)));
    expect(raws.map(({ objects }) => objects).toSorted((a, b) => a - b)).toEqual([0, 1]);
    expect(await works()).toBe(1);
  });

  test("is nobody else's: who announces its hash has to upload it", async () => {
    const file = makeFile(1000);
    await uploadWhole(file);
    const stranger = await origin.signUp();
    const answer = await uploadsOf(stranger.token).beginUpload(announce(file));
    expect(answer.videoId).toBe(0n);
    expect(answer.missingParts).toHaveLength(1);
  });

  test("may be published again once the video has failed or is deleted", async () => {
    const file = makeFile(1000);
    const videoId = await uploadWhole(file);
    await origin.as(author.token).video.deleteVideo({ videoId });
    expect((await uploadsOf().beginUpload(announce(file))).missingParts).toHaveLength(1);
    const secondId = await uploadWhole(file);
    expect(secondId).not.toBe(videoId);
    const { job } = await origin.jobs.claimJob({ jobId: secondId });
    await origin.jobs.failJob({ jobId: secondId, fence: job?.fence ?? 0n, reason: "broken", permanent: true });
    expect((await uploadsOf().beginUpload(announce(file))).missingParts).toHaveLength(1);
  });

  test("is known by what the media worker has measured, also after an upload that announced nothing", async () => {
    const file = makeFile(1000);
    const form = new FormData();
    form.append("title", "streamed");
    form.append("data", new Blob([new Uint8Array(file)]), "a.mp4");
    const answer = (await (await origin.upload(form, { token: author.token })).json()) as { videoId: string };
    const jobId = BigInt(answer.videoId);
    const { job } = await origin.jobs.claimJob({ jobId });
    const made = { playKey: "p", coverKey: "c", width: 1, height: 1, durationMs: 1n, sha256: sha256Of(file) };
    await origin.jobs.completeJob({ jobId, fence: job?.fence ?? 0n, ...made });
    expect((await uploadsOf().beginUpload(announce(file))).videoId).toBe(jobId);
  });
});

describe("refused are", () => {
  test("files that are too large, too small, of no type that we take, or without a title", async () => {
    const file = makeFile(1000);
    const begin = (change: object) => outcome(uploadsOf().beginUpload({ ...announce(file), ...change }));
    expect(await begin({ size: BigInt(maxFileBytes) + 1n })).toBe("TOO_LARGE");
    expect(await begin({ size: 10n })).toBe("INVALID_PARAMETER");
    expect(await begin({ size: -1n })).toBe("INVALID_PARAMETER");
    expect(await begin({ contentType: "text/html" })).toBe("NOT_A_VIDEO");
    expect(await begin({ title: " " })).toBe("INVALID_PARAMETER");
    expect(await begin({ sha256: "abc" })).toBe("INVALID_PARAMETER");
  });

  test("uploads of others, and calls of nobody", async () => {
    const upload = await uploadsOf().beginUpload(announce(makeFile(1000)));
    const { uploadId } = upload;
    const stranger = (await origin.signUp()).token;
    expect(await outcome(uploadsOf(stranger).beginUpload({ uploadId }))).toBe("UPLOAD_NOT_FOUND");
    expect(await outcome(uploadsOf(stranger).completeUpload({ uploadId }))).toBe("UPLOAD_NOT_FOUND");
    expect(await outcome(uploadsOf(stranger).abortUpload({ uploadId }))).toBe("ok");
    expect((await uploadsOf().beginUpload({ uploadId })).uploadId).toBe(uploadId);
    expect(await outcome(origin.as().uploads.beginUpload({ uploadId }))).toBe("UNAUTHENTICATED");
  });

  test("completions with parts missing, and the upload goes on", async () => {
    const file = makeFile(9 * 2 ** 20);
    const upload = await uploadsOf().beginUpload(announce(file));
    const { uploadId } = upload;
    await putParts(file, upload, upload.missingParts.slice(0, 1));
    expect(await outcome(uploadsOf().completeUpload({ uploadId }))).toBe("UPLOAD_INCOMPLETE");
    await putParts(file, upload, upload.missingParts.slice(1));
    expect(await outcome(uploadsOf().completeUpload({ uploadId }))).toBe("ok");
  });

  test("files that are no videos or not the kind that was announced, and nothing of them stays", async () => {
    for (const [start, type] of [
      ["<html>", "video/mp4"],
      ["\0\0\0\x14ftypqt  ", "video/mp4"],
    ] as const) {
      const file = makeFile(1000);
      file.write(start, 0, "latin1");
      const upload = await uploadsOf().beginUpload({ ...announce(file), contentType: type });
      const { uploadId } = upload;
      await putParts(file, upload);
      expect(await outcome(uploadsOf().completeUpload({ uploadId }))).toBe("NOT_A_VIDEO");
      expect(await rawsOf(uploadId)).toEqual({ objects: 0, open: 0 });
      expect(await openUploadOf(uploadId)).toBeUndefined();
      expect(await outcome(uploadsOf().completeUpload({ uploadId }))).toBe("UPLOAD_NOT_FOUND");
    }
    expect(await works()).toBe(0);
  });

  test("more unfinished uploads than one author may have, also when they come at once", async () => {
    const begun = Array.from({ length: 20 }, () => outcome(uploadsOf().beginUpload(announce(makeFile(100)))));
    expect((await Promise.all(begun)).filter((one) => one === "RATE_LIMITED")).toHaveLength(4);
    expect(await outcome(uploadsOf().beginUpload(announce(makeFile(100))))).toBe("RATE_LIMITED");
  });
});

test("of one file there is one upload, also when its client begins it several times at once", async () => {
  const file = makeFile(1000);
  const begun = await Promise.all(Array.from({ length: 8 }, () => uploadsOf().beginUpload(announce(file))));
  const [uploadId = 0n, ...others] = new Set(begun.map((upload) => upload.uploadId));
  expect(others).toEqual([]);
  expect(await rawsOf(uploadId)).toEqual({ objects: 0, open: 1 });
  expect(await openUploadOf(uploadId)).toBeDefined();
});

describe("what is given up goes:", () => {
  test("an aborted upload, with its parts", async () => {
    const file = makeFile(1000);
    const upload = await uploadsOf().beginUpload(announce(file));
    const { uploadId } = upload;
    await putParts(file, upload);
    expect(await rawsOf(uploadId)).toEqual({ objects: 0, open: 1 });
    await uploadsOf().abortUpload({ uploadId });
    await uploadsOf().abortUpload({ uploadId });
    expect(await rawsOf(uploadId)).toEqual({ objects: 0, open: 0 });
    expect(await outcome(uploadsOf().beginUpload({ uploadId }))).toBe("UPLOAD_NOT_FOUND");
  });

  test("an upload that nobody has asked for in a day; one that became a video leaves the video", async () => {
    const file = makeFile(1000);
    const abandoned = await uploadsOf().beginUpload(announce(makeFile(1000)));
    const videoId = await uploadWhole(file);
    await sweepUploads(sweeping(Date.now() + 23 * hour));
    expect(await openUploadOf(abandoned.uploadId)).toBeDefined();
    while ((await sweepUploads(sweeping(Date.now() + 25 * hour))) > 0);
    expect(await openUploadOf(abandoned.uploadId)).toBeUndefined();
    expect(await rawsOf(abandoned.uploadId)).toEqual({ objects: 0, open: 0 });
    expect(await openUploadOf(videoId)).toBeUndefined();
    expect(await rawsOf(videoId)).toEqual({ objects: 1, open: 0 });
  });

  test("the file of an upload whose video another one had become, though its completion broke off", async () => {
    const file = makeFile(1000);
    const [first, second] = [
      await uploadsOf().beginUpload(announce(file)),
      await uploadsOf().beginUpload({ ...announce(file), title: "another", sha256: "" }),
    ];
    const sha256 = sha256Of(file);
    await origin.db
      .update(uploads)
      .set({ sha256 })
      .where(eq(uploads.id, Number(second.uploadId)));
    for (const upload of [first, second]) {
      await putParts(file, upload);
      await uploadsOf().completeUpload({ uploadId: upload.uploadId });
    }
    const row = await openUploadOf(second.uploadId);
    expect(row?.videoId).toBe(Number(first.uploadId));
    await origin.objects.put(row?.rawKey ?? "", Readable.from([file]), { contentType: "video/mp4" });
    while ((await sweepUploads(sweeping(Date.now() + 25 * hour))) > 0);
    expect(await rawsOf(second.uploadId)).toEqual({ objects: 0, open: 0 });
    expect(await rawsOf(first.uploadId)).toEqual({ objects: 1, open: 0 });
  });

  test("the others, too, when one of them cannot be swept", async () => {
    const [broken, other] = await Promise.all(
      [1000, 1000].map((size) => uploadsOf().beginUpload(announce(makeFile(size)))),
    );
    const its = eq(uploads.id, Number(broken?.uploadId));
    await origin.db.update(uploads).set({ rawKey: "raw/../no-key", expiresAt: 1 }).where(its);
    await expect(sweepUploads(sweeping(Date.now() + 25 * hour))).rejects.toThrow("1 failed");
    expect(await openUploadOf(other?.uploadId ?? 0n)).toBeUndefined();
    await origin.db.delete(uploads).where(its);
  });

  test("an upload that is asked for again and again, after a week", async () => {
    const { uploadId } = await uploadsOf().beginUpload(announce(makeFile(1000)));
    const createdAt = Date.now() - 7 * 24 * hour + 10_000;
    const which = eq(uploads.id, Number(uploadId));
    await origin.db.update(uploads).set({ createdAt }).where(which);
    const { expiresMs } = await uploadsOf().beginUpload({ uploadId });
    expect(Number(expiresMs)).toBe(createdAt + 7 * 24 * hour);
  });

  test("parts in object storage whose row never came, and no others", async () => {
    const { uploadId } = await uploadsOf().beginUpload(announce(makeFile(1000)));
    const id = Number(uploadId) + 1;
    const key = `raw/${String(id).padStart(16, "0")}-${"0".repeat(32)}`;
    await origin.objects.beginParts(key, { contentType: "video/mp4" });
    await sweepUnknownParts(sweeping(Date.now()));
    expect(await rawsOf(BigInt(id))).toEqual({ objects: 0, open: 1 });
    await sweepUnknownParts(sweeping(Date.now() + 2 * hour));
    expect(await rawsOf(BigInt(id))).toEqual({ objects: 0, open: 0 });
    expect(await rawsOf(uploadId)).toEqual({ objects: 0, open: 1 });
  });

  test("but not an upload that has become a video while it was looked at", async () => {
    const file = makeFile(1000);
    const upload = await uploadsOf().beginUpload(announce(file));
    const stale = await openUploadOf(upload.uploadId);
    await putParts(file, upload);
    const { videoId } = await uploadsOf().completeUpload({ uploadId: upload.uploadId });
    if (stale) await endUpload(origin, stale);
    expect(await rawsOf(videoId)).toEqual({ objects: 1, open: 0 });
    expect((await uploadsOf().completeUpload({ uploadId: upload.uploadId })).videoId).toBe(videoId);
  });

  test("but not the object of an upload that is being completed", async () => {
    const { uploadId } = await uploadsOf().beginUpload(announce(makeFile(1000)));
    const { rawKey = "" } = (await openUploadOf(uploadId)) ?? {};
    await origin.objects.put(rawKey, Readable.from([Buffer.from("x")]), { contentType: "video/mp4" });
    await sweepRawObjects(sweeping(Date.now() + 2 * hour), sweptVideoUploads(origin));
    expect(await origin.objects.head(rawKey)).not.toBeNull();
  });
});
