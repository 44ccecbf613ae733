import { expect, test } from "bun:test";

import { MySqlDialect } from "drizzle-orm/mysql-core";

import { tuples } from "./tuples.ts";

const written = (rows: number[][]) => new MySqlDialect().sqlToQuery(tuples(rows));

test("rows stand in the statement, without placeholders", () => {
  expect(written([[1, -2], [Number.MAX_SAFE_INTEGER]])).toMatchObject({
    sql: "(1, -2), (9007199254740991)",
    params: [],
  });
});

test("what is no whole number of 53 bits is refused, and so is anything that would change the statement", () => {
  const text = "1); DROP TABLE users; --" as unknown as number;
  for (const value of [0.5, Number.NaN, Infinity, 2 ** 53, text]) {
    expect(() => tuples([[1], [1, value]])).toThrow("whole numbers");
  }
});
