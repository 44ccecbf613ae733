import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { aac, beep, corners, ready, steps, x264 } from "./clips.ts";
import type { Entry } from "./entry.ts";

const small = ["360x640"];
const silent = { sound: "none", flashMs: undefined } as const;
const lateFlash = { flashMs: 2000 };

/** Files whose picture or sound is another one from some moment on, and which become videos all the same. */
export const changing: Entry[] = [
  steps("turned-while-filming.mp4", turnedWhileFilming, ready(["240x320"], { upright: false, copied: [] })),
  steps("changes-its-size.webm", changesItsSize, ready(["320x240"], { ...silent, upright: false, durationMs: 2000 })),
  steps(
    "sound-changes-its-rate.mkv",
    (place) => changesItsSound(place, {}, { rate: 44_100 }),
    ready(small, lateFlash),
    true,
  ),
  steps("sound-becomes-mono.mp4", (place) => changesItsSound(place, {}, { layout: "mono" }), ready(small, lateFlash)),
  steps(
    "sound-becomes-surround.mp4",
    (place) => changesItsSound(place, { layout: "mono", rate: 44_100 }, { layout: "5.1" }),
    ready(small, lateFlash),
  ),
];

async function changesItsSize({ dir, ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  const vp8 = "-c:v libvpx -deadline realtime -cpu-used 8";
  await ffmpeg(`-f lavfi -i testsrc2=size=320x240:duration=1 ${vp8} across.webm`);
  await ffmpeg(`-f lavfi -i testsrc2=size=240x320:duration=1 ${vp8} upright.webm`);
  await writeFile(join(dir, "list.txt"), "file across.webm\nfile upright.webm\n");
  await ffmpeg(`-f concat -i list.txt -c copy ${file}`);
}

/** H.264 with the sizes in the stream, one of which the index tells. */
async function turnedWhileFilming({ dir, ffmpeg, file }: Parameters<Entry["make"]>[0]): Promise<void> {
  const raw = `${x264} -f h264`;
  await ffmpeg(`${corners({ size: "240x320", seconds: 1.5 })} ${raw} upright.h264`);
  await ffmpeg(`-f lavfi -i testsrc2=size=320x240:rate=30:duration=1.5 ${raw} across.h264`);
  const halves = ["upright.h264", "across.h264"].map((name) => readFile(join(dir, name)));
  await writeFile(join(dir, "both.h264"), Buffer.concat(await Promise.all(halves)));
  await ffmpeg(`-framerate 30 -i both.h264 ${beep()} -c:v copy ${aac} ${file}`);
}

/** AC-3, whose packets tell each for itself how they are to be heard; the beep and the flash come behind the change. */
async function changesItsSound(
  { dir, ffmpeg, file }: Parameters<Entry["make"]>[0],
  ...halves: { layout?: string; rate?: number }[]
): Promise<void> {
  const late = (source: string) => source.replaceAll("between(t,1,1.1)", "between(t,2,2.1)");
  for (const [at, half] of halves.entries()) {
    await ffmpeg(`${late(beep(half))} -ss ${1.5 * at} -t 1.5 -c:a ac3 -b:a 256k ${at}.ac3`);
  }
  const sound = await Promise.all(halves.map((_, at) => readFile(join(dir, `${at}.ac3`))));
  await writeFile(join(dir, "sound.ac3"), Buffer.concat(sound));
  await ffmpeg(`${late(corners())} -i sound.ac3 ${x264} -c:a copy ${file}`);
}
