import { bigint, mysqlTable, uniqueIndex, varchar } from "drizzle-orm/mysql-core";

import { text4 } from "./columns.ts";

/** Accounts. Owner: the user service. */
export const users = mysqlTable(
  "users",
  {
    id: bigint({ mode: "number" }).primaryKey(),
    /** As its owner wrote it. */
    name: text4(32).notNull(),
    /** {@link name} under NFKC and lower case: what must be unique, so that nobody passes for somebody else. */
    nameKey: text4(255).notNull(),
    /** bcrypt of the pre-hashed password. */
    passwordHash: varchar({ length: 72 }).notNull(),
    avatar: varchar({ length: 255 }).notNull().default(""),
    backgroundImage: varchar({ length: 255 }).notNull().default(""),
    signature: text4(255).notNull().default(""),
    /** Milliseconds since 1970. */
    createdAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [uniqueIndex("users_name_key").on(table.nameKey)],
);
