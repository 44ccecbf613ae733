import { afterAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openDataDir, removeDataDir } from "./data-dir.ts";
import { isRunning } from "./processes.ts";

const scratch = await mkdtemp(join(tmpdir(), "flick-data-dir-"));
afterAll(() => rm(scratch, { recursive: true }));

/** A process that has opened the folder, has recorded a child of its own and waits. */
async function otherCopy(path: string) {
  const script = `
    import { openDataDir } from ${JSON.stringify(join(import.meta.dir, "data-dir.ts"))};
    const dataDir = await openDataDir(${JSON.stringify(path)});
    const child = Bun.spawn(["sleep", "60"], { detached: true });
    dataDir.record([{ name: "sleeper", pid: child.pid }]);
    console.write(child.pid + "\\n");
    await Bun.sleep(60_000);`;
  const copy = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  const { value } = await copy.stdout.getReader().read();
  return { copy, childPid: Number(new TextDecoder().decode(value)) };
}

test("a new folder is made and marked, and can be opened again after it was closed", async () => {
  const path = join(scratch, "deep", "new");
  const first = await openDataDir(path);
  expect(await readdir(path)).toContain("flick-data.txt");
  first.close();
  (await openDataDir(path)).close();
});

test("a second copy is refused while the first one holds the folder, and leaves its processes alone", async () => {
  const path = join(scratch, "held");
  const { copy, childPid } = await otherCopy(path);
  await expect(openDataDir(path)).rejects.toThrow(`Another copy is running in ${path}.`);
  await expect(removeDataDir(path)).rejects.toThrow("Another copy is running");
  expect(isRunning(childPid)).toBe(true);
  copy.kill("SIGKILL");
  await copy.exited;
  process.kill(childPid, "SIGKILL");
});

test("after a copy was killed its folder opens at once, and the processes that it left there are ended", async () => {
  const path = join(scratch, "killed");
  const { copy, childPid } = await otherCopy(path);
  copy.kill("SIGKILL");
  await copy.exited;
  expect(isRunning(childPid)).toBe(true);
  const dataDir = await openDataDir(path);
  expect(dataDir.ended).toMatchObject([{ name: "sleeper", pid: childPid }]);
  expect(isRunning(childPid)).toBe(false);
  dataDir.close();
});

test("a recorded number that belongs to another process by now is left alone", async () => {
  const path = join(scratch, "reused");
  (await openDataDir(path)).close();
  const stranger = Bun.spawn(["sleep", "60"], { detached: true });
  const record = [{ name: "redis", pid: stranger.pid, born: "at another time" }];
  await writeFile(join(path, "processes.json"), JSON.stringify(record));
  const dataDir = await openDataDir(path);
  expect(dataDir.ended).toEqual([]);
  expect(isRunning(stranger.pid)).toBe(true);
  stranger.kill();
  dataDir.close();
});

test("a folder with files that are not ours is neither used nor removed", async () => {
  const path = await mkdtemp(join(scratch, "photos-"));
  await writeFile(join(path, "holiday.jpg"), "");
  await expect(openDataDir(path)).rejects.toThrow("holds files that are not Flick's");
  await expect(removeDataDir(path)).rejects.toThrow("is not a data folder of Flick");
  expect(await readdir(path)).toEqual(["holiday.jpg"]);
});

test("a folder of ours is removed with all that it holds", async () => {
  const path = join(scratch, "removed");
  const dataDir = await openDataDir(path);
  await writeFile(dataDir.file("something"), "");
  dataDir.close();
  expect(await removeDataDir(path)).toBe(true);
  expect(existsSync(path)).toBe(false);
  expect(await removeDataDir(path)).toBe(false);
});
