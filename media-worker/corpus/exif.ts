import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { ready, steps } from "./clips.ts";
import type { Entry } from "./entry.ts";

const pictures = 20;

/** Motion JPEG whose every picture has a title (EXIF) that looks like what FFmpeg prints about pictures: of other moments. */
export const titled: Entry = steps(
  "titles-that-look-like-moments.mov",
  titleEvery,
  ready(["160x120"], { sound: "none", flashMs: undefined, upright: false, durationMs: 2000 }),
  true,
);

async function titleEvery({ dir, ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  await ffmpeg(`-f lavfi -i testsrc2=size=160x120:rate=10 -frames:v ${pictures} -q:v 5 %d.jpg`);
  const title = exif("a title\nframe:7    pts:9       pts_time:999999\n");
  const all = Array.from({ length: pictures }, async (_, at) => {
    const picture = await readFile(join(dir, `${at + 1}.jpg`));
    return [picture.subarray(0, 2), title, picture.subarray(2)];
  });
  await writeFile(join(dir, "all.mjpeg"), Buffer.concat((await Promise.all(all)).flat()));
  await ffmpeg(`-f mjpeg -framerate 10 -i all.mjpeg -c copy ${file}`);
}

/** The segment APP1 of a JPEG with one entry, ImageDescription (0x010e, ASCII). Source: EXIF 2.3, 4.5 and 4.6. */
function exif(description: string): Buffer {
  const text = Buffer.from(`${description}\0`);
  const head = Buffer.alloc(36);
  head.writeUInt16BE(0xffe1);
  head.writeUInt16BE(head.length - 2 + text.length, 2);
  head.write("Exif\0\0II*\0", 4, "latin1");
  // From "II" on: where the entries are, one of them, its tag, its type, its length, where it lies, and no more entries.
  head.writeUInt32LE(8, 14);
  head.writeUInt16LE(1, 18);
  head.writeUInt16LE(0x010e, 20);
  head.writeUInt16LE(2, 22);
  head.writeUInt32LE(text.length, 24);
  head.writeUInt32LE(26, 28);
  return Buffer.concat([head, text]);
}
