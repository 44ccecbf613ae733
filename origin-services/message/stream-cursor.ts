import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

/** A time up to which a viewer has every message, and the ids of the later ones that came already. */
export interface StreamPosition {
  /** Milliseconds since 1970. */
  after: number;
  came: readonly number[];
}

export interface StreamCursor {
  /** Is this message new to the stream? It then counts as sent. */
  accept(message: { id: number; createTime: number }): boolean;
  /** The `id:` of the message that was accepted last: from there another stream can go on. */
  id(): string;
}

/**
 * Messages of different people may become visible in another order than that of their times: they are written by several processes, and
 * a hot conversation is ahead of the clock. So what is this old or newer is told apart by its id, not by its time.
 */
const disorderMs = 5_000;
/** A burst of more than this is remembered only from its middle on. */
const maxRemembered = 10_000;
/** Ids in one `id:`. After a burst, messages of the last seconds may come again to who reconnects, but none is left out. */
const maxNamed = 32;

const form = /^(\d{1,16})(?:-([0-9a-z]{1,8})((?:-[0-9a-z]{1,11}){0,32}))?$/;

/**
 * Keeps account of what one stream has sent, so that nothing comes twice: not from the database and the event log both, and not when
 * the event log delivers something again.
 *
 * @param exact the stream has one conversation, whose messages become visible in the order of their times: an id is then a time.
 */
export function createStreamCursor(
  start: StreamPosition,
  { exact, now }: { exact: boolean; now: () => number },
): StreamCursor {
  let { after } = start;
  let newest = after;
  /** Times by id, in the order of arrival. */
  const came = new Map(start.came.map((id) => [id, Number.POSITIVE_INFINITY]));

  function forget(): void {
    const settled = Math.min(newest, now()) - disorderMs;
    if (settled <= after) return;
    after = settled;
    for (const [id, time] of came) if (time <= after) came.delete(id);
  }

  return {
    accept({ id, createTime }) {
      if (createTime <= after || came.has(id)) return false;
      if (came.size >= maxRemembered) {
        const times = [...came.values()].filter(Number.isFinite).toSorted((one, other) => one - other);
        after = times[times.length >> 1] ?? after;
        for (const [other, time] of came) if (time <= after) came.delete(other);
      }
      came.set(id, createTime);
      newest = Math.max(newest, createTime);
      forget();
      return true;
    },
    id() {
      if (exact) return String(newest);
      const named = [...came.keys()].slice(-maxNamed).map((id) => `-${id.toString(36)}`);
      return `${newest}-${Math.max(0, newest - after).toString(36)}${named.join("")}`;
    },
  };
}

/** @throws INVALID_PARAMETER unless it is an `id:` of a stream or a `create_time`. */
export function readStreamPosition(since: string): StreamPosition {
  const [, time = "", behind = "0", named = ""] = form.exec(since) ?? [];
  const after = Number(time) - Number.parseInt(behind, 36);
  const came = named
    .split("-")
    .slice(1)
    .map((id) => Number.parseInt(id, 36));
  if (!time || after < 0 || ![Number(time), ...came].every(Number.isSafeInteger)) {
    throw flickError(Reason.INVALID_PARAMETER, "since: must be an id of this stream or a message's create_time");
  }
  return { after, came };
}
