import { join } from "node:path";

import { rgbaToThumbHash } from "thumbhash";

import type { CoverPlan } from "./plan-cover.ts";

/** The ThumbHash, in base64, of the small picture that a run for a cover has made. */
export async function readThumbHash(dir: string, { file, width, height }: CoverPlan["thumb"]): Promise<string> {
  const pixels = await Bun.file(join(dir, file)).bytes();
  return Buffer.from(rgbaToThumbHash(width, height, pixels)).toString("base64");
}
