import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createIdGenerator } from "@flick/db/id.ts";
import { videos } from "@flick/db/schema/video.ts";
import { createLog } from "@flick/platform/log.ts";

import { startTestOrigin, type TestOrigin } from "./testing.ts";
import { makeRawKey, rawKeyId } from "./raw-key.ts";
import { sweepRawObjects } from "./raw-sweep.ts";
import { sweptVideoUploads } from "./video/upload-sweep.ts";

const hour = 3_600_000;
const path = join(tmpdir(), `flick-sweep-${process.pid}`);

let origin: TestOrigin;
beforeAll(async () => {
  origin = await startTestOrigin({}, { store: true });
  await writeFile(path, "an upload");
});
afterAll(async () => {
  await Bun.file(path).delete();
  await origin.stop();
});

const log = createLog({ program: "tests", write: () => {} });
const sweep = (later: number) => {
  const { db, objects } = origin;
  return sweepRawObjects({ objects, log, now: () => Date.now() + later }, sweptVideoUploads({ db }));
};

test("an upload without a row is deleted after a day and an hour, and not before; one with a row stays", async () => {
  const newId = createIdGenerator(1);
  const [kept, orphan] = [makeRawKey("raw", newId()), makeRawKey("raw", newId())];
  for (const key of [kept, orphan]) await origin.objects.put(key, path, { contentType: "video/mp4" });
  await origin.objects.put("raw/notes.txt", path, { contentType: "text/plain" });
  await origin.db.insert(videos).values({
    id: rawKeyId(kept) ?? 0,
    authorId: 1,
    title: "t",
    status: "ready",
    rawKey: kept,
    createdAt: 1,
    jobDueAt: 1,
  });
  const left = async () => (await origin.objects.list("raw/")).map((object) => object.key);

  await sweep(24.9 * hour);
  expect(await left()).toContain(orphan);
  await sweep(25.1 * hour);
  expect(await left()).not.toContain(orphan);
  expect(await left()).toContain(kept);
  expect(await left()).toContain("raw/notes.txt");
});
