import { stat } from "node:fs/promises";
import { join } from "node:path";

import { ObjectNotFound, ObjectTooLarge, type ObjectStore } from "@flick/platform/object-store/object-store.ts";

import { BadUpload } from "./bad-upload.ts";
import { inputFile } from "./ffmpeg-run.ts";

/**
 * Downloads an upload into the folder of its job. Returns its bytes.
 *
 * @throws {BadUpload} when it is too large or no longer there.
 */
export async function fetchInput(
  store: ObjectStore,
  rawKey: string,
  dir: string,
  { maxBytes, signal }: { maxBytes: number; signal: AbortSignal },
): Promise<number> {
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
  return (await stat(path)).size;
}
