import type { EventLog } from "@flick/platform/event-log/event-log.ts";
import type { Log } from "@flick/platform/log.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { publishEventsPath } from "@flick/proto/stream.ts";
import * as v from "valibot";

import type { Context } from "../context.ts";
import {
  createEventStreams,
  type EventStream,
  type EventStreams,
  type Feeding,
  type StreamLimits,
} from "../event-streams.ts";
import { publicError, type Identities } from "../interceptors.ts";
import { readLiveChanges, type LiveChanges } from "../live-changes.ts";
import { findNewestStates, findStates, type PublishState } from "./publish-status.ts";

/** Tells the listeners of an author the id of every video of theirs that has changed, or whose chosen cover has. */
export type LiveVideos = LiveChanges<number>;

/** How many of an author's newest videos a stream begins with. */
const shownFirst = 20;
/** Videos that one stream follows at most; more are told of, and forgotten. */
const maxFollowed = 1_000;

interface Asked {
  authorId: number;
  /** 0: all of the author's. */
  videoId: number;
}

/** What a stream says of a video. */
interface PublishEvent {
  video_id: number;
  status: PublishState["status"];
  percent: number;
  reason: string;
  cover_status: PublishState["coverStatus"];
  cover_time_ms: number;
  cover_reason: string;
}

export function readLiveVideos(options: { events: EventLog; nodeId: number; log: Log }): LiveVideos {
  const { events, nodeId, log } = options;
  return readLiveChanges({
    events,
    group: `publish-${nodeId}`,
    topics: ["cdc.videos", "cdc.video_covers"],
    log,
    read(change) {
      const { id: told, author_id: userId } = v.parse(row, change.after ?? change.before);
      return { userId, told };
    },
  });
}

const id = v.pipe(v.union([v.number(), v.string()]), v.transform(Number), v.safeInteger());
const row = v.object({ id, author_id: id });

/**
 * The progress of an author's videos, see proto/stream.ts. A change only says where to look: what is sent is the row as it is
 * then, so that no event that comes late or twice can turn a state back. The heartbeat looks too, for when events do not come.
 */
export function createPublishStreams(
  context: Pick<Context, "db" | "log" | "now">,
  { identities, live, limits }: { identities: Identities; live: LiveVideos; limits?: Partial<StreamLimits> },
): EventStreams {
  const { db, log } = context;
  return createEventStreams<Asked>(context, {
    path: publishEventsPath,
    identities,
    limits,
    async read(authorId, query) {
      const videoId = Number(query.get("video_id") ?? 0);
      if (!Number.isSafeInteger(videoId) || videoId < 0) {
        throw flickError(Reason.INVALID_PARAMETER, "video_id: must be an id, or 0 for all of yours");
      }
      if (videoId > 0 && (await find(authorId, [videoId])).length === 0) {
        throw flickError(Reason.VIDEO_NOT_FOUND, "video_id: you have no such video");
      }
      return { authorId, videoId };
    },
    feed,
  });

  function feed({ authorId, videoId }: Asked, stream: EventStream): Feeding {
    const sent = new Map<number, PublishEvent>();
    const changed = new Set<number>();
    /** Look at all that may have changed without our being told. */
    let all = true;
    let working = false;
    const stopListening = live.listen(authorId, (changedId) => {
      if (videoId === 0 || changedId === videoId) look([changedId]);
    });
    look([]);

    /** One look at a time, at everything that has changed since the last one. */
    function look(ids: Iterable<number>): void {
      for (const one of ids) changed.add(one);
      if (working || (changed.size === 0 && !all) || !stream.isOpen()) return;
      working = true;
      void attempt(async () => {
        if (all) await lookAtAll();
        const asked = [...changed];
        changed.clear();
        const found = asked.length > 0 ? await find(authorId, asked) : [];
        const there = new Set(found.map((event) => event.video_id));
        found.forEach(send);
        // A row that is gone was deleted before.
        for (const one of asked) if (!there.has(one) && isThere(sent.get(one))) send(deletedEvent(one));
        await stream.whenTaken();
      }).finally(() => {
        working = false;
        look([]);
      });
    }

    async function lookAtAll(): Promise<void> {
      all = false;
      for (const [one, event] of sent) if (isMoving(event)) changed.add(one);
      const first = videoId > 0 ? await find(authorId, [videoId]) : await findNewest(authorId);
      first.forEach(send);
    }

    function send(event: PublishEvent): void {
      if (JSON.stringify(sent.get(event.video_id)) === JSON.stringify(event)) return;
      sent.set(event.video_id, event);
      if (sent.size > maxFollowed) sent.delete(sent.keys().next().value ?? 0);
      stream.send({ data: event });
    }

    async function attempt(work: () => Promise<void>): Promise<void> {
      try {
        await work();
      } catch (error) {
        publicError(error, log, { method: publishEventsPath, requestId: undefined });
        stream.end("videos cannot be read at the moment");
      }
    }

    return {
      beat() {
        all = true;
        look([]);
      },
      stop: stopListening,
    };
  }

  async function find(authorId: number, ids: number[]): Promise<PublishEvent[]> {
    return (await findStates(db, authorId, ids)).map(toEvent);
  }

  async function findNewest(authorId: number): Promise<PublishEvent[]> {
    return (await findNewestStates(db, authorId, shownFirst)).map(toEvent);
  }
}

const toEvent = (state: PublishState): PublishEvent => ({
  video_id: state.id,
  status: state.status,
  percent: state.percent,
  reason: state.reason,
  cover_status: state.coverStatus,
  cover_time_ms: state.coverTimeMs,
  cover_reason: state.coverReason,
});

/** Will it change without its author's doing? */
const isMoving = ({ status, cover_status: cover }: PublishEvent) =>
  status === "uploaded" || status === "processing" || cover === "processing";

const isThere = (event: PublishEvent | undefined) => event !== undefined && event.status !== "deleted";

const deletedEvent = (videoId: number): PublishEvent => {
  const none = { cover_status: "" as const, cover_time_ms: 0, cover_reason: "" };
  return { video_id: videoId, status: "deleted", percent: 0, reason: "", ...none };
};
