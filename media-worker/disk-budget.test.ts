import { expect, test } from "bun:test";
import { tmpdir } from "node:os";

import { createDiskBudget } from "./disk-budget.ts";

const dir = tmpdir();
const never = new AbortController().signal;

test("jobs share the budget, and one waits until another has given its part back", async () => {
  const disk = createDiskBudget({ dir, maxBytes: 100 });
  const first = await disk.reserve(60, never);
  const second = await disk.reserve(40, never);
  let third: (() => void) | undefined;
  const waiting = disk.reserve(50, never).then((release) => (third = release));
  second();
  second();
  await Bun.sleep(400);
  expect(third).toBeUndefined();
  first();
  await waiting;
  expect(third).toBeDefined();
});

test("a job that finds no room in time fails, and takes none", async () => {
  const disk = createDiskBudget({ dir, maxBytes: 100, waitMs: 300 });
  const release = await disk.reserve(60, never);
  await expect(disk.reserve(50, never)).rejects.toThrow("60 of the 100 bytes of DISK_BUDGET_BYTES are taken");
  release();
  await disk.reserve(100, never);
});

test("a job that is larger than the budget, or than the disk, is told so", async () => {
  await expect(createDiskBudget({ dir, maxBytes: 100 }).reserve(101, never)).rejects.toThrow(
    "DISK_BUDGET_BYTES is 100",
  );
  const vast = createDiskBudget({ dir, maxBytes: 2 ** 52, waitMs: 0 });
  await expect(vast.reserve(2 ** 51, never)).rejects.toThrow("bytes are free on the disk of WORK_DIR");
});

test("waiting ends with the job", async () => {
  const disk = createDiskBudget({ dir, maxBytes: 100 });
  await disk.reserve(100, never);
  const reason = new Error("the claim is lost");
  await expect(disk.reserve(1, AbortSignal.abort(reason))).rejects.toBe(reason);
});
