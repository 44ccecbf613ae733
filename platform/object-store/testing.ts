import { Readable } from "node:stream";

import { createOssStore, type OssStore } from "../../dev/oss-store/oss-store.ts";
import { createLog } from "../log.ts";

export const credentials = {
  region: "oss-cn-hangzhou",
  bucket: "flick-test",
  accessKeyId: "test-key",
  accessKeySecret: "test-secret",
};

export const text = { contentType: "text/plain" };

/** A store of its own on a free port. */
export function startOssStore(dataDir: string): OssStore {
  return createOssStore({ dataDir, port: 0, log: createLog({ program: "oss-store", level: "warn" }), ...credentials });
}

/** How a promise failed, and after how many milliseconds. */
export async function failure(promise: Promise<unknown>): Promise<{ error: Error; ms: number }> {
  const start = performance.now();
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return { error, ms: performance.now() - start };
  }
  throw new Error("it should have failed with an Error");
}

/** Numbered lines until somebody destroys it. */
export function endless(): Readable {
  let count = 0;
  return new Readable({
    read() {
      this.push(`${String(++count).padStart(9, "0")}\n`.repeat(1000));
    },
  });
}
