import { stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";

/** An object under one of our keys is never changed. */
export const forever = { public: true, cacheControl: "public, max-age=31536000, immutable" };

const contentTypes: Record<string, string> = {
  ".mp4": "video/mp4",
  ".m3u8": "application/vnd.apple.mpegurl",
  ".jpg": "image/jpeg",
  ".webp": "image/webp",
};
/** Where covers lie that the author of a video has chosen, a folder for each attempt. */
export const coverFolder = (videoId: bigint) => `videos/${videoId}/covers/`;

/** Uploads at once. */
const lanes = 4;
/** Of former attempts, which are ten at most. */
const maxRemoved = 1000;
const removalTries = 3;
const removeAgainMs = 500;

/** Files that a job made, on their way to object storage. */
export function createOutputs(store: ObjectStore) {
  return {
    /** Stores files under a prefix; returns the bytes of all of them. */
    async store(prefix: string, dir: string, files: readonly string[], signal: AbortSignal): Promise<number> {
      let bytes = 0;
      const queue = files.values();
      const lane = async () => {
        for (const file of queue) {
          const path = join(dir, file);
          const contentType = contentTypes[extname(file)] ?? "application/octet-stream";
          await store.put(prefix + file, path, { ...forever, contentType, signal });
          bytes += (await stat(path)).size;
        }
      };
      try {
        await Promise.all(Array.from({ length: lanes }, lane));
      } catch (error) {
        signal.throwIfAborted();
        throw error;
      }
      return bytes;
    },

    /**
     * Removes what former attempts at a video stored and nobody was told of. Its author may have chosen another cover already.
     *
     * @returns whether it is all gone: what storage does not remove stays until the video is deleted, which is no reason to fail.
     */
    async removeOthers(videoId: bigint, prefix: string): Promise<boolean> {
      for (let tries = 1; ; tries++) {
        try {
          await removeOnce(videoId, prefix);
          return true;
        } catch {
          if (tries === removalTries) return false;
          await sleep(removeAgainMs);
        }
      }
    },
  };

  async function removeOnce(videoId: bigint, prefix: string): Promise<void> {
    const kept = [prefix, coverFolder(videoId)];
    const found = await store.list(`videos/${videoId}/`);
    const others = found.filter(({ key }) => !kept.some((folder) => key.startsWith(folder))).slice(0, maxRemoved);
    for (const { key } of others) await store.delete(key);
  }
}
