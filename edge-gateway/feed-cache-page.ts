import type { FeedView, GetFeedResponse, GetFeedViewsResponse } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import * as v from "valibot";

import { userSchema, videoObject, videoSchema } from "./objects.ts";

/** A page of the feed as nobody in particular sees it, ready to be sent. Plain data: every request of an isolate may use it. */
export interface FeedPage {
  key: string;
  /** Milliseconds since 1970, before the origin was asked. */
  fetchedAt: number;
  /** What stood in Redis before the origin was asked; null when that is not known. */
  generations: Generations | null;
  /** Place in the feed of the first video; 0 when there is none. */
  newestMs: number;
  /** The whole answer to somebody who is not signed in. A Worker sends a Blob without copying it, and bytes not. */
  body: Blob;
  /** The bytes of the same with room for what differs by viewer. */
  template: Uint8Array<ArrayBuffer>;
  /** Places in the template where a viewer's own values go, a number for each video. */
  slots: Record<SlotName, number[]>;
  videoIds: bigint[];
  /** Each once. */
  authorIds: bigint[];
  /** Of each video, the place of its author in `authorIds`. */
  authorOf: number[];
}

export interface Generations {
  head: string;
  all: string;
}

type PageCounts = Pick<GetFeedViewsResponse, "favoriteCounts" | "commentCounts">;

type SlotName = "isFollow" | "favoriteCount" | "commentCount" | "isFavorite";

/** Of what is stored outside of this isolate. A change of the public objects' shape shows itself; of their meaning it must be told here. */
const version = 1;

/** @param origin what the video service answered to a call without a token. */
export function pageOf(
  head: Pick<FeedPage, "key" | "fetchedAt" | "generations">,
  { videos, nextBeforeMs, hasMore, newestMs }: GetFeedResponse,
): FeedPage {
  const next = Number(nextBeforeMs);
  const fields = {
    video_list: videos.map(videoObject),
    next_time: next,
    next_cursor: next,
    has_more: hasMore,
  };
  return render(head, Number(newestMs), fields);
}

/** What Redis and the Cache API keep of a page: its answer, with what must be known to judge it. */
export async function encodePage({ key, fetchedAt, generations, newestMs, body }: FeedPage): Promise<string> {
  const head = JSON.stringify({ version, key, fetchedAt, generations, newestMs });
  return `${head}\n${await body.text()}`;
}

/** Null for anything but a page that {@link encodePage} of this version made for this key: others may write where it was found. */
export function decodePage(text: string, key: string): FeedPage | null {
  const end = text.indexOf("\n");
  try {
    const head = v.parse(storedHead, JSON.parse(text.slice(0, end)));
    const answer = v.parse(storedAnswer, JSON.parse(text.slice(end + 1)));
    const { fetchedAt, generations, newestMs } = head;
    const { video_list, next_time, next_cursor, has_more } = answer;
    if (head.key !== key) return null;
    return render({ key, fetchedAt, generations }, newestMs, { video_list, next_time, next_cursor, has_more });
  } catch {
    return null;
  }
}

/** A page with newer counts. */
export interface CountedPage {
  /** As it is sent to who likes and follows nobody on it. */
  body: Blob;
  bytes: Uint8Array<ArrayBuffer>;
}

/** The page with newer counts, and room for what differs by viewer: once for all those who were asked about together. */
export function withCounts(page: FeedPage, { favoriteCounts, commentCounts }: PageCounts): CountedPage {
  const { slots, videoIds } = page;
  if (favoriteCounts.length !== videoIds.length || commentCounts.length !== videoIds.length)
    throw new TypeError("the counts are not those of the page");
  const bytes = new Uint8Array(page.template);
  for (let at = 0; at < videoIds.length; at++) {
    writeCount(bytes, slots.favoriteCount[at] as number, Number(favoriteCounts[at]));
    writeCount(bytes, slots.commentCount[at] as number, Number(commentCounts[at]));
  }
  return { body: new Blob([bytes]), bytes };
}

/** A page {@link withCounts} as one viewer sees it. */
export function withFlags(
  counted: CountedPage,
  { slots, videoIds, authorIds, authorOf }: FeedPage,
  { isFavorite, isFollow }: Pick<FeedView, "isFavorite" | "isFollow">,
): Blob {
  if (isFavorite.length !== videoIds.length || isFollow.length !== authorIds.length)
    throw new TypeError("the view is not one of the page");
  if (!isFavorite.includes(true) && !isFollow.includes(true)) return counted.body;
  const bytes = new Uint8Array(counted.bytes);
  for (let at = 0; at < videoIds.length; at++) {
    if (isFollow[authorOf[at] as number]) writeAscii(bytes, slots.isFollow[at] as number, "true ");
    if (isFavorite[at]) writeAscii(bytes, slots.isFavorite[at] as number, "true ");
  }
  return new Blob([bytes]);
}

export const bytesOf = ({ body, template }: FeedPage): number => body.size + template.byteLength;

interface FeedJson {
  video_list: v.InferOutput<typeof videoSchema>[];
  next_time: number;
  next_cursor: number;
  has_more: boolean;
}

const slotNames: readonly SlotName[] = ["isFollow", "favoriteCount", "commentCount", "isFavorite"];
const encoder = new TextEncoder();
/** Stands for a value that is left open. Nobody can guess it and put it into a title. Made late, because Workers have no chance at start. */
let mark: string | undefined;

function render(
  head: Pick<FeedPage, "key" | "fetchedAt" | "generations">,
  newestMs: number,
  fields: FeedJson,
): FeedPage {
  mark ??= crypto.randomUUID();
  const slot = (name: SlotName) => `${mark}:${slotNames.indexOf(name)}`;
  const open = fields.video_list.map((video) => ({
    ...video,
    author: { ...video.author, is_follow: slot("isFollow") },
    favorite_count: slot("favoriteCount"),
    comment_count: slot("commentCount"),
    is_favorite: slot("isFavorite"),
  }));
  const answer = { status_code: 0, status_msg: "success", ...fields };
  const pieces = JSON.stringify({ ...answer, video_list: open }).split(new RegExp(`"${mark}:(\\d)"`));
  const template = new ByteWriter();
  const slots: FeedPage["slots"] = { isFollow: [], favoriteCount: [], commentCount: [], isFavorite: [] };
  // Text, the slot behind it, the text behind that.
  for (const [index, piece] of pieces.entries()) {
    if (index % 2 === 0) {
      template.add(piece);
      continue;
    }
    const name = slotNames[Number(piece)] as SlotName;
    slots[name].push(template.length);
    template.add(name === "isFollow" || name === "isFavorite" ? "false" : " ".repeat(countLength));
  }
  const authors = [...new Set(fields.video_list.map(({ author }) => author.id))];
  return {
    ...head,
    newestMs,
    body: new Blob([JSON.stringify(answer)]),
    template: template.bytes(),
    slots,
    videoIds: fields.video_list.map(({ id }) => BigInt(id)),
    authorIds: authors.map(BigInt),
    authorOf: fields.video_list.map(({ author }) => authors.indexOf(author.id)),
  };
}

/** The largest number below 2^53 has so many digits; JSON allows spaces behind a value. */
const countLength = 16;

function writeCount(bytes: Uint8Array, at: number, count: number): void {
  const digits = String(Math.min(count, Number.MAX_SAFE_INTEGER));
  writeAscii(bytes, at, digits);
  bytes.fill(0x20, at + digits.length, at + countLength);
}

function writeAscii(bytes: Uint8Array, at: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
}

class ByteWriter {
  #chunks: Uint8Array[] = [];
  length = 0;

  add(text: string): this {
    const chunk = encoder.encode(text);
    this.#chunks.push(chunk);
    this.length += chunk.byteLength;
    return this;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(this.length);
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    return whole;
  }
}

const text = v.pipe(v.string(), v.maxLength(100));
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const storedHead = v.strictObject({
  version: v.literal(version),
  key: text,
  fetchedAt: whole,
  generations: v.nullable(v.strictObject({ head: text, all: text })),
  newestMs: whole,
});

/** Nobody's page, with exactly the fields that the public objects have here and now. */
const storedAnswer = v.strictObject({
  status_code: v.literal(0),
  status_msg: v.literal("success"),
  video_list: v.pipe(
    v.array(
      v.strictObject({
        ...videoSchema.entries,
        author: v.strictObject({ ...userSchema.entries, is_follow: v.literal(false) }),
        is_favorite: v.literal(false),
      }),
    ),
    v.maxLength(100),
  ),
  next_time: whole,
  next_cursor: whole,
  has_more: v.boolean(),
});
