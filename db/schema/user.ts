import {
  bigint,
  boolean,
  index,
  int,
  mysqlEnum,
  mysqlTable,
  tinyint,
  uniqueIndex,
  varchar,
} from "drizzle-orm/mysql-core";

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
    /** How often the user has logged out everywhere: tokens tell in which generation they were issued. */
    tokenGeneration: int().notNull().default(0),
    /** Milliseconds since 1970. */
    createdAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [uniqueIndex("users_name_key").on(table.nameKey)],
);

/** Pictures that users uploaded for their profiles; a row is also the media worker's job. Owner: the user service. */
export const profileImages = mysqlTable(
  "profile_images",
  {
    /** Made when the upload began: of two pictures for one place the larger id is the newer one. */
    id: bigint({ mode: "number" }).primaryKey(),
    userId: bigint({ mode: "number" }).notNull(),
    kind: mysqlEnum(["avatar", "background"]).notNull(),
    /** A picture that is replaced by a newer one is removed, and its row with it. */
    status: mysqlEnum(["uploaded", "processing", "ready", "failed", "replaced"]).notNull(),
    /** Why it failed, for operators. */
    statusReason: text4(255).notNull().default(""),
    /** Object keys: the upload, which is deleted when the job has ended, and what was made of it (empty until ready). */
    rawKey: varchar({ length: 255 }).notNull(),
    imageKey: varchar({ length: 255 }).notNull().default(""),
    /** Milliseconds since 1970 at which the upload was accepted. */
    createdAt: bigint({ mode: "number" }).notNull(),
    /** As in the table of videos. */
    jobAttempts: tinyint().notNull().default(0),
    jobFaults: tinyint().notNull().default(0),
    jobDead: boolean().notNull().default(false),
    jobFence: int().notNull().default(0),
    jobDueAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [
    index("profile_images_user").on(table.userId, table.kind, table.status, table.id),
    index("profile_images_due").on(table.status, table.jobDueAt, table.userId),
  ],
);
