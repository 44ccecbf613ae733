import { flag, section, whole } from "@flick/platform/live-config/settings.ts";
import type * as v from "valibot";

const hour = 3_600_000;
const MiB = 1024 * 1024;

/** How pages of the feed are cached at the edge. Ages count from the moment a page was asked of the origin, in whatever layer it is found. */
export const feedSettings = section({
  cached: flag({ default: true, what: "keep pages at the edge; when off, every page comes from the origin" }),
  freshMs: whole({ default: 1_000, min: 0, max: 60_000, what: "a page younger than this is served as it is" }),
  staleMs: whole({
    default: 1_500,
    min: 0,
    max: 60_000,
    what: "one younger than this is served while it is refreshed; the request for an older one waits",
  }),
  errorMs: whole({
    default: hour,
    min: 0,
    max: 24 * hour,
    what: "one younger than this is served when it cannot be refreshed",
  }),
  logEvery: whole({
    default: 100,
    min: 1,
    max: 1_000_000,
    what: "of the requests that are answered from an isolate's memory, one in so many has its line in the log",
  }),
  memoryPages: whole({ default: 256, min: 1, max: 10_000, what: "pages that an isolate keeps in memory" }),
  memoryBytes: whole({ default: 16 * MiB, min: MiB, max: 64 * MiB, what: "bytes of these pages" }),
});

export type FeedSettings = v.InferOutput<typeof feedSettings>;
