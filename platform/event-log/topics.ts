import type { TopicSpec } from "./event-log.ts";

/** The tables whose changes the change-data capture publishes: all of `db/schema`. */
const tables = [
  "comments",
  "conversations",
  "favorites",
  "follow_counts",
  "follows",
  "messages",
  "profile_images",
  "token_revocations",
  "uploads",
  "user_favorite_counts",
  "users",
  "video_comment_counts",
  "video_covers",
  "video_favorite_counts",
  "videos",
  "work_counts",
] as const;

/** Where the changes of a table go. Characters that no topic may have become `_`. */
export function changeTopic(table: string): string {
  return `cdc.${table.replace(/[^A-Za-z0-9._-]/g, "_")}`;
}

/** How far the change-data capture has come; its newest record is all that counts. */
export const offsetsTopic = "cdc.offsets";

/** Where records of a topic go that could not be handled. */
export function deadLetterTopic(topic: string): string {
  return `${topic}.dlq`;
}

/** Dead letters wait for a person. */
const deadLetterRetentionMs = 30 * 24 * 3_600_000;

/** Read in the order in which they happened over all keys: a chat's messages are one key each, and every origin reads them all anyway. */
const ordered: ReadonlySet<string> = new Set([changeTopic("messages")]);

const changeTopics = tables.map(changeTopic);

/** Every topic that a program of ours uses. Those of changes keep them for seven days. */
export const topics: readonly TopicSpec[] = [
  ...changeTopics.map((name) => (ordered.has(name) ? { name, partitions: 1 } : { name })),
  { name: offsetsTopic, partitions: 1, compact: true },
  ...changeTopics.map((name) => ({
    name: deadLetterTopic(name),
    partitions: 1,
    retentionMs: deadLetterRetentionMs,
  })),
];
