import type { Log } from "@flick/platform/log.ts";
import type { ObjectStore } from "@flick/platform/object-store/object-store.ts";

/** Keys of the pictures that stand in for those a user has not chosen. They never change: a new picture gets a new number. */
export const defaultImages = {
  avatar: "defaults/avatar-1.png",
  background: "defaults/background-1.jpg",
  /** Shown while a video has no cover of its own. */
  cover: "defaults/cover-1.jpg",
};

const sources = [
  { key: defaultImages.avatar, file: "avatar.png", contentType: "image/png" },
  { key: defaultImages.background, file: "background.jpg", contentType: "image/jpeg" },
  { key: defaultImages.cover, file: "cover.jpg", contentType: "image/jpeg" },
];

const firstRetryMs = 500;
const maxRetryMs = 60_000;

/** Stores the pictures that are not there yet, in the background, trying again until it works. Returns what stops it. */
export function storeDefaultImages(objects: ObjectStore, log: Log): () => void {
  let timer: Timer | undefined;
  let stopped = false;
  async function store(retryMs: number): Promise<void> {
    try {
      for (const { key, file, contentType } of sources) {
        if (await objects.head(key)) continue;
        const cacheControl = "public, max-age=31536000, immutable";
        await objects.put(key, `${import.meta.dir}/assets/${file}`, { contentType, cacheControl, public: true });
      }
    } catch (error) {
      if (stopped) return;
      log.warn("default images not stored yet", { retryMs, error });
      timer = setTimeout(() => void store(Math.min(retryMs * 2, maxRetryMs)), retryMs);
    }
  }
  void store(firstRetryMs);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
