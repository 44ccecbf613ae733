import { ConnectError } from "@connectrpc/connect";
import { flickError, reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { FeedView } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import { withCounts, withFlags, type CountedPage, type FeedPage } from "./feed-cache-page.ts";
import type { FeedRequest } from "./feed-cache.ts";
import type { Origin } from "./origin.ts";
import { sleep } from "./sleep.ts";

/**
 * A page as its viewer sees it at this moment.
 *
 * @throws UNAUTHENTICATED when the token is no good; what the origin answered else, or TIMEOUT.
 */
export type FeedViews = (page: FeedPage, token: string, request: FeedRequest) => Promise<Blob>;

/** Viewers who look at one page and whom the origin is asked about at once. */
interface Batch {
  page: FeedPage;
  tokens: string[];
  tokenBytes: number;
  /** Milliseconds since 1970 at which the answer should be there. */
  expectedAt: number;
  /** One of them is there in the end. Plain data, for every request of the batch to read. */
  answer?: { counted: CountedPage; views: FeedView[] };
  failure?: { reason: Reason; message: string };
}

/** As many as the origin takes. */
const maxViewers = 32;
const maxTokenBytes = 16 * 1024;
const timeoutMs = 2_000;
/** For others to join, when the isolate is busy: two thirds of what calls take, within these bounds. */
const leastGatherMs = 1;
const mostGatherMs = 8;
const firstPollMs = 1;
const longestPollMs = 16;

/**
 * While a call to the origin is in flight, requests for the same page gather for a few milliseconds and then go together, by the first of
 * them: to a Worker, a call costs more than all the rest of a request. Nobody waits for another's I/O (Workers forbid it): the others look
 * into memory for the answer.
 */
export function createFeedViews({ videos }: Pick<Origin, "videos">): FeedViews {
  /** Those that may still be joined. */
  const open = new Map<string, Batch>();
  let inFlight = 0;
  const calls = createExpectation();

  return async (page, token, request) => {
    const gathering = open.get(page.key);
    if (gathering?.page === page && isRoomFor(gathering, token)) {
      const place = add(gathering, token);
      await waitFor(gathering);
      return pageIn(gathering, place);
    }
    const batch: Batch = { page, tokens: [], tokenBytes: 0, expectedAt: 0 };
    const place = add(batch, token);
    const work = ask(batch, request.requestId);
    request.waitUntil(work);
    await work;
    return pageIn(batch, place);
  };

  async function ask(batch: Batch, requestId: string): Promise<void> {
    const { page, tokens } = batch;
    if (inFlight++ > 0) {
      const gatherMs = Math.min(mostGatherMs, Math.max(leastGatherMs, (calls.usualMs() * 2) / 3));
      batch.expectedAt = Date.now() + gatherMs + calls.mostMs();
      open.set(page.key, batch);
      await sleep(gatherMs);
      if (open.get(page.key) === batch) open.delete(page.key);
    }
    const began = Date.now();
    try {
      const asked = { videoIds: page.videoIds, authorIds: page.authorIds, tokens };
      const answer = await videos.getFeedViews(asked, { timeoutMs, headers: { "x-request-id": requestId } });
      batch.answer = { counted: withCounts(page, answer), views: answer.views };
    } catch (error) {
      batch.failure = { reason: reasonOf(error), message: ConnectError.from(error).rawMessage };
    } finally {
      calls.took(Date.now() - began);
      inFlight--;
    }
  }
}

/**
 * How long calls take: an average that follows the last ones, and what hardly any exceeds. As TCP expects its round trips (RFC 6298), but faster to
 * follow and with a narrower bound, since to be wrong costs a look and no packet.
 */
function createExpectation() {
  let averageMs = 0;
  let deviationMs = 0;
  return {
    took(ms: number): void {
      const off = ms - averageMs;
      averageMs += off / 4;
      deviationMs += (Math.abs(off) - deviationMs) / 4;
    },
    usualMs: () => averageMs,
    mostMs: () => averageMs + deviationMs,
  };
}

function isRoomFor({ tokens, tokenBytes }: Batch, token: string): boolean {
  return tokens.length < maxViewers && tokenBytes + token.length <= maxTokenBytes;
}

function add(batch: Batch, token: string): number {
  const place = batch.tokens.indexOf(token);
  if (place >= 0) return place;
  batch.tokenBytes += token.length;
  return batch.tokens.push(token) - 1;
}

/** A look costs a timer, so the first is taken when there should be something to see. */
async function waitFor(batch: Batch): Promise<void> {
  const now = Date.now();
  const deadline = now + timeoutMs + mostGatherMs;
  await sleep(Math.min(longestPollMs, Math.max(firstPollMs, batch.expectedAt - now)));
  for (let waitMs = firstPollMs; !batch.answer && !batch.failure && Date.now() < deadline; waitMs *= 1.5)
    await sleep(Math.min(waitMs, longestPollMs));
}

function pageIn({ page, answer, failure }: Batch, place: number): Blob {
  if (!answer) {
    const { reason, message } = failure ?? { reason: Reason.TIMEOUT, message: "nobody asked the origin" };
    throw flickError(reason, message);
  }
  const view = answer.views[place];
  if (!view) throw new TypeError("the origin left out a viewer");
  if (view.refusal) throw flickError(Reason.UNAUTHENTICATED, view.refusal);
  return withFlags(answer.counted, page, view);
}
