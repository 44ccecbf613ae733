import type { Clients } from "./clients.ts";

/** Authors of those videos that are ready, by the video's id: one call, however many ids (1000 at most). */
export async function findAuthors(clients: Clients, videoIds: Iterable<number>): Promise<Map<number, number>> {
  const asked = [...new Set(videoIds)];
  if (asked.length === 0) return new Map();
  const answer = await clients.video.batchGetAuthors({ videoIds: asked.map(BigInt) });
  return new Map(answer.videoIds.map((videoId, index) => [Number(videoId), Number(answer.authorIds[index])]));
}
