import { expect, test } from "bun:test";
import { join } from "node:path";

import { changeTopic, deadLetterTopic, topics } from "@flick/platform/event-log/topics.ts";
import { getTableName, isTable } from "drizzle-orm";

test("there is a topic for the changes of every table, and one for its dead letters", async () => {
  const schema = join(import.meta.dir, "..", "db", "schema");
  const modules = await Promise.all(
    [...new Bun.Glob("*.ts").scanSync({ cwd: schema, absolute: true })].map(
      async (file): Promise<object> => import(file),
    ),
  );
  const tables = modules.flatMap((exports) => Object.values(exports)).filter((value) => isTable(value));
  expect(tables.length).toBeGreaterThan(10);
  const declared = topics.map(({ name }) => name);
  const wanted = tables.map((table) => changeTopic(getTableName(table)));
  expect(wanted.filter((topic) => !declared.includes(topic))).toEqual([]);
  expect(wanted.filter((topic) => !declared.includes(deadLetterTopic(topic)))).toEqual([]);
  expect(declared.filter((name) => /^cdc\.(?!offsets$)[^.]+$/.test(name) && !wanted.includes(name))).toEqual([]);
});
