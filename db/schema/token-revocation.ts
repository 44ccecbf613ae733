import { bigint, index, int, mysqlTable, varchar } from "drizzle-orm/mysql-core";

/** Access tokens that are refused although they have not expired. Owner: the user service; every origin reads it. */
export const tokenRevocations = mysqlTable(
  "token_revocations",
  {
    id: bigint({ mode: "number" }).primaryKey(),
    userId: bigint({ mode: "number" }).notNull(),
    /** The id of one token, with which nobody can sign in; empty for all that are of an earlier generation. */
    jti: varchar({ length: 64 }).notNull(),
    generation: int().notNull(),
    /** When the last of the tokens has expired and the row may go, milliseconds since 1970. */
    expiresAt: bigint({ mode: "number" }).notNull(),
  },
  (table) => [index("token_revocations_user").on(table.userId), index("token_revocations_expired").on(table.expiresAt)],
);
