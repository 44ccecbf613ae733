import { customType } from "drizzle-orm/mysql-core";

/**
 * Text compared byte by byte and able to hold every character. The collation is named because the defaults of MySQL 8.4 and
 * MariaDB differ, and because some of theirs take all emoji for equal.
 */
export function text4(length: number) {
  return customType<{ data: string }>({
    dataType: () => `varchar(${length}) character set utf8mb4 collate utf8mb4_bin`,
  })();
}
