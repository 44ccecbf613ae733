import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";

import { createWorkDir } from "./work-dir.ts";

let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "flick-work-"));
});
afterAll(() => rm(parent, { recursive: true }));

test("folders of workers that are gone are removed, those of others stay", async () => {
  const gone = Bun.spawn(["true"]);
  await gone.exited;
  const folder = (pid: number, host = hostname()) => `flick-media-${host}-${pid}`;
  const stay = [folder(process.ppid), folder(gone.pid, "elsewhere"), "flick-media-notes", "other"];
  for (const name of [folder(gone.pid), folder(process.pid), ...stay]) {
    await mkdir(join(parent, name));
    await writeFile(join(parent, name, "input"), "x");
  }
  const workDir = await createWorkDir(parent);
  expect((await readdir(parent)).toSorted()).toEqual([...stay, folder(process.pid)].toSorted());
  expect(await readdir(join(parent, folder(process.pid)))).toEqual([]);
  await workDir.close();
  expect((await readdir(parent)).toSorted()).toEqual(stay.toSorted());
});

test("folders of workers elsewhere are removed once nobody has touched them for a day", async () => {
  const [old, young] = ["flick-media-gone-7", "flick-media-slow-7"];
  const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000);
  for (const [name, hours] of [
    [old, 25],
    [young, 23],
  ] as const) {
    await mkdir(join(parent, name));
    await writeFile(join(parent, name, "input"), "x");
    await utimes(join(parent, name), hoursAgo(hours), hoursAgo(hours));
  }
  const workDir = await createWorkDir(parent);
  await workDir.close();
  expect(await readdir(parent)).not.toContain(old);
  expect(await readdir(parent)).toContain(young);
});

test("a job's folder is private, and gone after it, also when the job fails", async () => {
  const workDir = await createWorkDir(parent);
  let used = "";
  const job = workDir.with(async (dir) => {
    used = dir;
    await writeFile(join(dir, "input"), "x");
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    throw new Error("it failed");
  });
  await expect(job).rejects.toThrow("it failed");
  await expect(stat(used)).rejects.toThrow("ENOENT");
  await workDir.close();
});
