import { bytesOf, type FeedPage } from "./feed-cache-page.ts";

/** The pages that were used last. */
export interface PageMemory {
  get(key: string): FeedPage | undefined;
  /** Those that were not used for longest go first. */
  set(page: FeedPage, limits: { pages: number; bytes: number }): void;
}

export function createPageMemory(): PageMemory {
  /** In the order of their use. */
  const pages = new Map<string, FeedPage>();
  let bytes = 0;
  let lastUsed: string | undefined;

  return {
    get(key) {
      const page = pages.get(key);
      if (page && key !== lastUsed) {
        pages.delete(key);
        pages.set(key, page);
        lastUsed = key;
      }
      return page;
    },
    set(page, limits) {
      remove(page.key);
      pages.set(page.key, page);
      lastUsed = page.key;
      bytes += bytesOf(page);
      for (const key of pages.keys()) {
        if (pages.size <= limits.pages && bytes <= limits.bytes) break;
        remove(key);
      }
    },
  };

  function remove(key: string): void {
    const page = pages.get(key);
    if (!page) return;
    pages.delete(key);
    bytes -= bytesOf(page);
  }
}
