import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Transaction } from "@flick/db/client.ts";
import { uploads, videos, workCounts } from "@flick/db/schema/video.ts";
import { transact } from "@flick/db/transaction.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { BeginUploadRequest, UploadService } from "@flick/proto/gen/flick/video/v1/upload_pb.ts";
import { and, desc, eq, gt, inArray, sql } from "drizzle-orm";

import type { Context } from "../context.ts";
import { toId } from "../ids.ts";
import { callerKey } from "../interceptors.ts";
import { makeRawKey } from "../raw-key.ts";
import { readText } from "../text.ts";
import { insertVideo, keysOfNewVideo, maxTitleLength } from "./insert-video.ts";
import { choosePartBytes, compareParts } from "./parts.ts";
import { sniffBytes, sniffVideo } from "./sniff.ts";
import { endUpload } from "./upload-sweep.ts";

/** Of one author. */
const maxOpenUploads = 16;
/** How long the URLs of parts work: the time for one part over a slow line. */
const urlSeconds = 15 * 60;
/** How long an upload waits for its client to come back, and how long it may last with all its breaks. */
const uploadWaitsMs = 24 * 3_600_000;
const uploadLastsMs = 7 * 24 * 3_600_000;

const contentTypes = ["video/mp4", "video/quicktime", "video/webm", "video/x-matroska"];

type UploadRow = typeof uploads.$inferSelect;
type Announced = Pick<UploadRow, "title" | "size" | "contentType" | "sha256">;

/**
 * Uploads in parts, over the `uploads` table. A hash is only ever looked for among the caller's own files: who announces somebody
 * else's learns nothing, and who announces a wrong one misleads nobody but themselves, until the media worker measures it.
 */
export function createUploadService(
  context: Context,
  { maxFileBytes }: { maxFileBytes: number },
): ServiceImpl<typeof UploadService> {
  const { db, objects, cache, now, newId } = context;

  return {
    async beginUpload(request, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      if (request.uploadId > 0n) {
        const row = await findUpload(viewerId, toId(request.uploadId));
        const described = row && (await describe(row));
        if (!described) throw uploadNotFound();
        return described;
      }
      const announced = readAnnounced(request, maxFileBytes);
      if (announced.sha256) {
        const videoId = await findVideo(db, viewerId, announced.sha256);
        if (videoId) return { videoId: BigInt(videoId) };
        const described = await goOn(viewerId, announced);
        if (described) return described;
      }
      const described = await describe(await begin(viewerId, announced));
      if (!described) throw flickError(Reason.UNAVAILABLE, "the upload could not be begun: try again");
      return described;
    },

    async completeUpload({ uploadId }, { values }: HandlerContext) {
      const { viewerId } = values.get(callerKey);
      const row = await findUpload(viewerId, toId(uploadId));
      if (!row) return { videoId: BigInt(await findPublished(viewerId, toId(uploadId))) };
      if (row.videoId > 0) return { videoId: BigInt(row.videoId) };
      await assemble(row);
      await checkFile(row);
      const { videoId, isNew } = await publish(row);
      // The same file under another upload of its author came first.
      if (videoId !== row.id) await objects.delete(row.rawKey);
      if (isNew) await cache.delete(keysOfNewVideo(row));
      return { videoId: BigInt(videoId) };
    },

    async abortUpload({ uploadId }, { values }: HandlerContext) {
      const row = await findUpload(values.get(callerKey).viewerId, toId(uploadId));
      if (row && row.videoId === 0) await endUpload(context, row);
      return {};
    },
  };

  /** One that has expired is gone, also before it is swept. Whoever asks keeps it alive. */
  async function findUpload(authorId: number, id: number): Promise<UploadRow | null> {
    const mine = and(eq(uploads.id, id), eq(uploads.authorId, authorId), gt(uploads.expiresAt, now()));
    const expiresAt = sql`LEAST(${now() + uploadWaitsMs}, ${uploads.createdAt} + ${uploadLastsMs})`;
    await db.update(uploads).set({ expiresAt }).where(mine);
    const [row] = await db.select().from(uploads).where(mine);
    return row ?? null;
  }

  /** The latest unfinished upload of the same file, under the title that it is to have now. */
  async function goOn(authorId: number, announced: Announced) {
    const found = await findSame(db, authorId, announced);
    if (!found) return null;
    await db.update(uploads).set({ title: announced.title }).where(eq(uploads.id, found.id));
    const row = await findUpload(authorId, found.id);
    return row && (await describe(row));
  }

  /** @param from the database, or a transaction. */
  async function findSame(from: Pick<Context["db"], "select">, authorId: number, announced: Announced) {
    const { sha256, size, contentType } = announced;
    if (!sha256) return undefined;
    const open = and(eq(uploads.authorId, authorId), eq(uploads.sha256, sha256), eq(uploads.videoId, 0));
    const same = and(open, eq(uploads.size, size), eq(uploads.contentType, contentType), gt(uploads.expiresAt, now()));
    const [found] = await from.select().from(uploads).where(same).orderBy(desc(uploads.id)).limit(1);
    return found;
  }

  /** The new upload, or that of the same file which another call has begun meanwhile. */
  async function begin(authorId: number, announced: Announced): Promise<UploadRow> {
    const open = and(eq(uploads.authorId, authorId), eq(uploads.videoId, 0), gt(uploads.expiresAt, now()));
    if ((await db.$count(uploads, open)) >= maxOpenUploads) throw tooManyOpen();
    const id = newId();
    const rawKey = makeRawKey("raw", id);
    const storeUploadId = await objects.beginParts(rawKey, { contentType: announced.contentType });
    const times = { createdAt: now(), expiresAt: now() + uploadWaitsMs };
    const partBytes = choosePartBytes(announced.size);
    const row = { ...announced, ...times, id, authorId, partBytes, rawKey, storeUploadId, videoId: 0 };
    const begun = await transact(db, async (tx) => {
      await takeTurns(tx, authorId);
      const same = await findSame(tx, authorId, announced);
      if (same) return same;
      if ((await tx.$count(uploads, open)) >= maxOpenUploads) return null;
      await tx.insert(uploads).values(row);
      return row;
    });
    if (begun?.id !== id) await objects.abortParts(rawKey, storeUploadId);
    if (!begun) throw tooManyOpen();
    return begun;
  }

  /** Null when object storage knows of it no more. */
  async function describe(row: UploadRow) {
    const { id, videoId, partBytes, contentType, rawKey, storeUploadId, expiresAt } = row;
    const common = { uploadId: BigInt(id), partBytes: BigInt(partBytes), contentType, expiresMs: BigInt(expiresAt) };
    if (videoId > 0) return { ...common, videoId: BigInt(videoId) };
    const urlsExpireMs = now() + urlSeconds * 1000;
    const stored = await objects.listParts(rawKey, storeUploadId);
    if (!stored && (await objects.head(rawKey)) === null) return null;
    // Parts that are an object already wait for nothing but the rest of a completion that broke off.
    const { there, missing } = stored
      ? compareParts(row, stored)
      : { there: compareParts(row, []).missing, missing: [] };
    const missingParts = await Promise.all(
      missing.map(async ({ number, size }) => {
        const url = await objects.partUrl(rawKey, storeUploadId, { number, size, contentType }, urlSeconds);
        return { number, size: BigInt(size), url };
      }),
    );
    return {
      ...common,
      storedParts: there.map(({ number }) => number),
      missingParts,
      urlsExpireMs: BigInt(urlsExpireMs),
    };
  }

  /** Makes an object of the parts, unless that has been done. */
  async function assemble(row: UploadRow): Promise<void> {
    const { rawKey, storeUploadId } = row;
    const stored = await objects.listParts(rawKey, storeUploadId);
    if (!stored) return;
    const { there, missing } = compareParts(row, stored);
    if (missing.length > 0) {
      const message = `${missing.length} of ${there.length + missing.length} parts are missing: ask for their URLs`;
      throw flickError(Reason.UPLOAD_INCOMPLETE, message);
    }
    const wanted = new Set(there.map(({ number }) => number));
    await objects.completeParts(
      rawKey,
      storeUploadId,
      stored.filter(({ number }) => wanted.has(number)),
    );
  }

  /** @throws NOT_A_VIDEO, with which the upload ends; UPLOAD_NOT_FOUND when it is gone. */
  async function checkFile(row: UploadRow): Promise<void> {
    const found = await objects.head(row.rawKey);
    if (found?.size !== row.size) {
      await endUpload(context, row);
      throw uploadNotFound();
    }
    const type = sniffVideo(await objects.readStart(row.rawKey, sniffBytes));
    if (type === row.contentType) return;
    await endUpload(context, row);
    if (type) throw flickError(Reason.NOT_A_VIDEO, `the file is ${type}, and was announced as ${row.contentType}`);
    throw flickError(Reason.NOT_A_VIDEO, "this is not a video that we can read (MP4, MOV, MKV or WebM)");
  }

  /** The transaction in which an upload becomes a video; of completions at once, one does it and the others see that it is done. */
  async function publish({
    id,
    authorId,
    title,
    rawKey,
    sha256,
  }: UploadRow): Promise<{ videoId: number; isNew: boolean }> {
    return transact(db, async (tx) => {
      const [row] = await tx.select().from(uploads).where(eq(uploads.id, id)).for("update");
      if (!row || row.expiresAt === 0) throw uploadNotFound();
      if (row.videoId > 0) return { videoId: row.videoId, isNew: false };
      await takeTurns(tx, authorId);
      const earlier = sha256 ? await findVideo(tx, authorId, sha256) : 0;
      const videoId = earlier || id;
      await tx.update(uploads).set({ videoId }).where(eq(uploads.id, id));
      if (!earlier) await insertVideo(tx, { id, authorId, title, rawKey, sha256 }, now());
      return { videoId, isNew: !earlier };
    });
  }

  /** The video of an upload that is forgotten. @throws UPLOAD_NOT_FOUND */
  async function findPublished(authorId: number, id: number): Promise<number> {
    const [video] = await db
      .select({ id: videos.id })
      .from(videos)
      .where(and(eq(videos.id, id), eq(videos.authorId, authorId)));
    if (!video) throw uploadNotFound();
    return video.id;
  }
}

/** Uploads of one author wait for each other here, so that each sees those before it. */
async function takeTurns(tx: Transaction, authorId: number): Promise<void> {
  const unchanged = { count: sql`${workCounts.count}` };
  await tx.insert(workCounts).values({ userId: authorId, count: 0 }).onDuplicateKeyUpdate({ set: unchanged });
}

/** A video of the author from a file with this hash that has not failed; 0 when there is none. */
async function findVideo(db: Pick<Context["db"], "select">, authorId: number, sha256: string): Promise<number> {
  const alive = inArray(videos.status, ["uploaded", "processing", "ready"]);
  const [video] = await db
    .select({ id: videos.id })
    .from(videos)
    .where(and(eq(videos.authorId, authorId), eq(videos.sha256, sha256), alive))
    .orderBy(videos.id)
    .limit(1);
  return video?.id ?? 0;
}

/** @throws INVALID_PARAMETER, TOO_LARGE, NOT_A_VIDEO. */
function readAnnounced(request: BeginUploadRequest, maxFileBytes: number): Announced {
  const title = readText("title", request.title, maxTitleLength);
  const size = Number(request.size);
  if (size < sniffBytes) throw flickError(Reason.INVALID_PARAMETER, `size: a video has at least ${sniffBytes} bytes`);
  if (size > maxFileBytes) throw flickError(Reason.TOO_LARGE, `size: at most ${maxFileBytes} bytes`);
  const contentType = request.contentType || "video/mp4";
  if (!contentTypes.includes(contentType)) {
    throw flickError(Reason.NOT_A_VIDEO, `content_type: must be one of ${contentTypes.join(", ")}`);
  }
  const sha256 = request.sha256.toLowerCase();
  if (!/^([0-9a-f]{64})?$/.test(sha256))
    throw flickError(Reason.INVALID_PARAMETER, "sha256: must be 64 hexadecimal digits");
  return { title, size, contentType, sha256 };
}

const tooManyOpen = () =>
  flickError(
    Reason.RATE_LIMITED,
    `you have ${maxOpenUploads} unfinished uploads, and may have no more: complete or abort some`,
  );

const uploadNotFound = () =>
  flickError(Reason.UPLOAD_NOT_FOUND, "upload_id: you have no such upload, or it is gone: begin a new one");
