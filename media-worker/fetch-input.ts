import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";

import { ObjectNotFound, ObjectTooLarge, type ObjectStore } from "@flick/platform/object-store/object-store.ts";

import { BadUpload } from "./bad-upload.ts";
import { inputFile } from "./ffmpeg-run.ts";

/**
 * Downloads an upload into the folder of its job. Returns its size and its SHA-256 in hexadecimal digits.
 *
 * @param options.sha256 what its client has announced; empty when it has not.
 * @throws {BadUpload} when it is too large, no longer there, or not what was announced.
 */
export async function fetchInput(
  store: ObjectStore,
  rawKey: string,
  dir: string,
  options: { maxBytes: number; sha256?: string; signal: AbortSignal },
): Promise<{ bytes: number; sha256: string }> {
  const { maxBytes, signal } = options;
  const path = join(dir, inputFile);
  try {
    await store.getFile(rawKey, path, { maxBytes, signal });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ObjectNotFound) {
      throw new BadUpload("The uploaded file is no longer there. Please upload it again.");
    }
    if (error instanceof ObjectTooLarge) throw new BadUpload(`The file is larger than ${maxBytes} bytes.`);
    throw error;
  }
  const { bytes, sha256 } = await measure(path, signal);
  if (options.sha256 && options.sha256 !== sha256) {
    throw new BadUpload("The file that arrived is not the one that was announced. Please upload it again.");
  }
  return { bytes, sha256 };
}

async function measure(path: string, signal: AbortSignal): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20, signal })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { bytes, sha256: hash.digest("hex") };
}
