import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createIdGenerator } from "@flick/db/id.ts";
import { profileImages } from "@flick/db/schema/user.ts";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { eq } from "drizzle-orm";

import { createAdmission } from "./admission.ts";
import type { RawFolder } from "./raw-key.ts";
import { outcome } from "./testing-data.ts";
import { startTestOrigin, testServiceSecret, type TestOrigin } from "./testing.ts";

const maxFileBytes = 10_000;
const hour = 3_600_000;

let origin: TestOrigin;
let dir: string;
let path: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-admission-"));
  path = join(dir, "clip.mp4");
  await Bun.write(path, video(1000));
  origin = await startTestOrigin(
    { MAX_UPLOAD_BYTES: String(maxFileBytes), MAX_IMAGE_BYTES: String(maxFileBytes) },
    { store: true },
  );
});
afterAll(async () => {
  await origin.stop();
  await rm(dir, { recursive: true });
});

const video = (bytes: number) => {
  const file = Buffer.alloc(bytes);
  file.write("\0\0\0\x20ftypisom\0\0\x02\0isom", "latin1");
  return file;
};

const put = (url: string, body: Uint8Array<ArrayBuffer>, type = "video/mp4") =>
  fetch(url, { method: "PUT", body, headers: { "content-type": type } });

/** A video that was admitted and stored, and whose it is to be. */
async function stored(bytes = 1000, as?: string) {
  const { userId, token } = await origin.signUp();
  const { video: videoCalls } = origin.as(as === "nobody" ? undefined : token);
  const file = await videoCalls.admitVideo({ head: video(64) });
  expect((await put(file.putUrl, video(bytes))).status).toBe(200);
  return { userId, token, file };
}

const publish = (token: string, ticket: string, title = "t") => origin.as(token).video.publish({ ticket, title });
const cutSeal = (ticket: string) => ticket.slice(0, ticket.lastIndexOf(":"));

async function changed(admitted: Promise<{ ticket: string }>, from: string, to: string) {
  return { ticket: (await admitted).ticket.replace(from, to) };
}

const keyOf = (ticket: string) => ticket.split(":")[0] ?? "";

/** As another origin with the same secret gives them. */
function admissionOf(options: { secret?: string; folder?: RawFolder; ago?: number } = {}) {
  const { secret = testServiceSecret, folder = "raw", ago = 0 } = options;
  const now = () => Date.now() - ago;
  const newId = createIdGenerator(30, now);
  return createAdmission({ objects: origin.objects, newId, now }, { folder, maxFileBytes, secret });
}

describe("publishing what was stored", () => {
  test("again, or several times at once, gives the same answer and publishes once", async () => {
    const { userId, token, file } = await stored();
    const first = await publish(token, file.ticket);
    expect(await publish(token, file.ticket)).toEqual(first);
    const second = await stored();
    const answers = await Promise.all(Array.from({ length: 8 }, () => publish(second.token, second.file.ticket)));
    expect(new Set(answers.map(({ videoId }) => videoId)).size).toBe(1);
    for (const author of [userId, second.userId]) {
      expect(await origin.db.$count(videos, eq(videos.authorId, author))).toBe(1);
      const [count] = await origin.db.select().from(workCounts).where(eq(workCounts.userId, author));
      expect(count?.count).toBe(1);
    }
  });

  test("works for whoever says so in the end when nobody was signed in, and for another origin's ticket", async () => {
    const { token, file } = await stored(1000, "nobody");
    expect((await publish(token, file.ticket)).videoId).toBeGreaterThan(0n);
    const other = await admissionOf().admit(0, "video/mp4");
    await put(other.putUrl, video(100));
    expect((await publish(token, other.ticket)).videoId).toBeGreaterThan(0n);
  });

  test("is refused for somebody else's file", async () => {
    const { file } = await stored();
    const { token } = await origin.signUp();
    expect(await outcome(publish(token, file.ticket))).toBe("INVALID_PARAMETER");
    expect(await origin.objects.head(keyOf(file.ticket))).not.toBeNull();
  });

  const genuine = () => admissionOf().admit(0, "video/mp4");
  test.each<[string, () => Promise<{ ticket: string }>]>([
    ["a ticket without its seal", async () => ({ ticket: cutSeal((await genuine()).ticket) })],
    ["one that was changed", () => changed(admissionOf().admit(1, "video/mp4"), ":1:", ":0:")],
    ["one under another secret", () => admissionOf({ secret: "x".repeat(32) }).admit(0, "video/mp4")],
    ["one for a picture", () => admissionOf({ folder: "raw-images" }).admit(0, "video/mp4")],
    ["one of the day before yesterday", () => admissionOf({ ago: 25 * hour }).admit(0, "video/mp4")],
  ])("is refused for %s, although the file is there", async (_what, admitted) => {
    const { token } = await origin.signUp();
    const { ticket } = await admitted();
    await origin.objects.put(keyOf(ticket), path, { contentType: "video/mp4" });
    expect(await outcome(publish(token, ticket))).toBe("INVALID_PARAMETER");
    expect(await origin.objects.head(keyOf(ticket))).not.toBeNull();
  });

  test.each([
    ["none at all", async () => "nonsense"],
    ["one whose file never came", async () => (await genuine()).ticket],
  ])("is refused for %s", async (_what, ticketOf) => {
    const { token } = await origin.signUp();
    expect(await outcome(publish(token, await ticketOf()))).toBe("INVALID_PARAMETER");
  });

  test("is refused for a file that is larger than it may be, which is deleted", async () => {
    const { token, file } = await stored(maxFileBytes + 1);
    expect(await outcome(publish(token, file.ticket))).toBe("TOO_LARGE");
    expect(await origin.objects.head(keyOf(file.ticket))).toBeNull();
  });

  test("needs a viewer", async () => {
    const { file } = await stored(1000, "nobody");
    expect(await outcome(origin.as().video.publish({ ticket: file.ticket, title: "t" }))).toBe("UNAUTHENTICATED");
  });
});

describe("the leave to store a file", () => {
  test("is for this file and its type alone, keeps it from everybody's eyes, and lets it be deleted", async () => {
    const { file } = await stored();
    const key = keyOf(file.ticket);
    expect((await put(file.putUrl, video(100), "text/html")).status).toBe(403);
    expect((await put(file.putUrl.replace(/raw\/\d/, "raw/9"), video(100))).status).toBe(403);
    expect((await fetch(origin.objects.publicUrl(key))).status).toBe(403);
    expect((await fetch(file.putUrl, { method: "DELETE" })).status).toBe(403);
    expect(await origin.objects.head(key)).toMatchObject({ size: 1000, contentType: "video/mp4" });
    expect((await fetch(file.deleteUrl, { method: "DELETE" })).status).toBe(204);
    expect(await origin.objects.head(key)).toBeNull();
  });

  test("is not given for what is no video, or under a title that will not do", async () => {
    const { video: calls } = origin.as();
    expect(await outcome(calls.admitVideo({ head: Buffer.alloc(64) }))).toBe("NOT_A_VIDEO");
    expect(await outcome(calls.admitVideo({ head: video(64), title: "x".repeat(101) }))).toBe("INVALID_PARAMETER");
  });
});

test("pictures become part of a profile once, also when the call comes twice and their jobs are done meanwhile", async () => {
  const { userId, token } = await origin.signUp();
  const { user } = origin.as(token);
  const png = Buffer.alloc(100);
  png.write("\x89PNG\r\n\x1A\n", "latin1");
  const file = await user.admitPicture({ field: "avatar", head: png.subarray(0, 64) });
  await put(file.putUrl, png, "image/png");
  await user.updateUser({ avatar: file.ticket });
  await fetch(file.deleteUrl, { method: "DELETE" });
  await user.updateUser({ avatar: file.ticket, signature: "again" });
  expect(await origin.db.$count(profileImages, eq(profileImages.userId, userId))).toBe(1);
  const other = await origin.signUp();
  expect(await outcome(origin.as(other.token).user.updateUser({ avatar: file.ticket }))).toBe("INVALID_PARAMETER");
});
