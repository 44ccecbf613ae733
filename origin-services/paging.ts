import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { toId } from "./ids.ts";

const maxBatch = 100;

/** 0 (not given) and anything beyond the most that one page holds mean that most. */
export function pageSize(asked: number, most: number): number {
  return asked > 0 ? Math.min(asked, most) : most;
}

/** A page out of one row more than it holds, which tells whether there is another. */
export function cut<T>(rows: readonly T[], size: number): { page: T[]; hasMore: boolean } {
  return { page: rows.slice(0, size), hasMore: rows.length > size };
}

/**
 * The ids of a batch call, each once.
 *
 * @throws INVALID_PARAMETER when there are more than `most`.
 */
export function checkBatch(name: string, ids: readonly bigint[], most = maxBatch): number[] {
  if (ids.length > most) throw flickError(Reason.INVALID_PARAMETER, `${name}: at most ${most}`);
  return [...new Set(ids)].map(toId);
}
