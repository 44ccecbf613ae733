import { bigint, index, mysqlTable, primaryKey, uniqueIndex } from "drizzle-orm/mysql-core";

import { text4 } from "./columns.ts";

/** Owner: the message service. */
export const messages = mysqlTable(
  "messages",
  {
    id: bigint({ mode: "number" }).primaryKey(),
    /** The two people, the smaller id first: all messages between them are neighbours. */
    lowId: bigint({ mode: "number" }).notNull(),
    highId: bigint({ mode: "number" }).notNull(),
    fromId: bigint({ mode: "number" }).notNull(),
    content: text4(1000).notNull(),
    /** Milliseconds since 1970, strictly increasing within a conversation: it names a place in it. */
    createTime: bigint({ mode: "number" }).notNull(),
  },
  (table) => [uniqueIndex("messages_conversation").on(table.lowId, table.highId, table.createTime)],
);

/** The newest message of each conversation; its row is what senders take turns at. Owner: the message service. */
export const conversations = mysqlTable(
  "conversations",
  {
    lowId: bigint({ mode: "number" }).notNull(),
    highId: bigint({ mode: "number" }).notNull(),
    lastId: bigint({ mode: "number" }).notNull(),
    lastFromId: bigint({ mode: "number" }).notNull(),
    lastContent: text4(1000).notNull(),
    lastTime: bigint({ mode: "number" }).notNull(),
  },
  // The key finds somebody's conversations by one side, the index by the other.
  (table) => [primaryKey({ columns: [table.lowId, table.highId] }), index("conversations_high").on(table.highId)],
);
