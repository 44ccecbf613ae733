import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { box, boxAt, boxesOf, patch } from "./boxes.ts";
import { aac, beep, clip, corners, failed, ready, steps, x264 } from "./clips.ts";
import type { Entry, Place } from "./entry.ts";

const noVideo = "not a video that we can read";
const cut = "incomplete";
const noPicture = "no picture";
const small = { size: "180x320" };
const whole = `${corners(small)} ${beep()} ${x264} ${aac}`;
const ftyp = box("ftyp", "isom\0\0\x02\0isomiso2avc1mp41");

/** Files that claim to be videos, and are refused. */
export const bad: Entry[] = [
  // Texts that name other files, and that other programs run.
  text(
    "playlist-of-server.mp4",
    ({ bait }) => `#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n${bait}/a.ts\n#EXT-X-ENDLIST\n`,
    true,
  ),
  text(
    "playlist-of-file.mp4",
    () => "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    true,
  ),
  text("master-playlist.mp4", ({ bait }) => `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n${bait}/b.m3u8\n`),
  text("list-of-files.mp4", () => "ffconcat version 1.0\nfile /etc/passwd\n", true),
  text("list-of-server.mp4", ({ bait }) => `ffconcat version 1.0\nfile ${bait}/c.mp4\n`),
  text("subfile.mp4", ({ bait }) => `ffconcat version 1.0\nfile 'subfile,,start,0,end,64,,:${bait}/d.mp4'\n`),
  text(
    "dash.mp4",
    ({ bait }) =>
      `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>${bait}/</BaseURL></MPD>`,
  ),
  text("session.mp4", () => "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
  text(
    "drawing.mp4",
    ({ bait }) => `<svg xmlns="http://www.w3.org/2000/svg"><image href="${bait}/e.png"/></svg>`,
    true,
  ),
  text("page.mp4", ({ bait }) => `<!doctype html><script src="${bait}/f.js"></script>`, true),
  text("script.mp4", () => "#!/bin/sh\nid\n"),
  text("metadata.mp4", () => ";FFMETADATA1\ntitle=a\n"),
  text(
    "playlist-behind-a-box.mp4",
    ({ bait }) => Buffer.concat([ftyp, Buffer.from(`\n#EXTM3U\n#EXTINF:9,\n${bait}/g.ts\n`)]),
    true,
    cut,
  ),
  text("archive.mp4", () => zip(), true),
  text("archive-behind-a-box.mp4", () => Buffer.concat([ftyp, zip()]), false, cut),
  text("drawing-in-matroska.mkv", ({ bait }) =>
    Buffer.concat([Buffer.from("1a45dfa3", "hex"), Buffer.from(`<svg><image href="${bait}/h"/></svg>`)]),
  ),
  changed("reference-to-server.mp4", referTo, failed(noPicture), true),
  // Too little.
  text("empty.mp4", () => "", true),
  text("one-byte.mp4", () => "\0"),
  text("only-a-type.mp4", () => ftyp, true, cut),
  text("noise-behind-a-type.mp4", () => Buffer.concat([ftyp, noise(100_000)]), false, cut),
  text("noise.mp4", () => noise(100_000), true),
  clip(
    "no-pictures.mp4",
    `${corners({ seconds: 0.0001 })} -frames:v 0 ${x264} -movflags empty_moov+frag_keyframe {}`,
    failed("There is no"),
    true,
  ),
  // Cut off, at every box and in the middle of it.
  ...["ftyp", "free", "mdat"].map((type) => cutAt(`cut-behind-${type}.mp4`, type, 1, false, cut)),
  cutAt("cut-in-mdat.mp4", "mdat", 0.5, false, cut),
  cutAt("cut-in-moov.mp4", "moov", 0.5, false, noVideo),
  cutAt("front-cut-behind-ftyp.mp4", "ftyp", 1, true, cut),
  cutAt("front-cut-in-moov.mp4", "moov", 0.5, true, noVideo, true),
  cutAt("front-cut-behind-moov.mp4", "moov", 1, true, noPicture),
  cutAt("front-cut-behind-free.mp4", "free", 1, true, noPicture),
  cutAt("front-cut-in-mdat.mp4", "mdat", 0.5, true, cut, true),
  steps("cut.mkv", (place) => cutFile(place, "mkv", 0.6), failed(cut), true),
  steps("fragments-cut.mp4", (place) => cutFile(place, "mp4", 0.6, "-movflags frag_keyframe+empty_moov"), failed(cut)),
  // Without a picture.
  clip("sound-only.mp4", `${beep()} ${aac} {}`, failed("only sound"), true),
  steps("song-with-cover.mp4", songWithCover, failed("only sound")),
  steps("subtitles-only.mkv", subtitlesOnly, failed("There is no video")),
  changed("unknown-codec.mp4", (bytes) => rename(bytes, "avc1", "zzzz"), failed("format that we do not know")),
  // Too much.
  clip(
    "8192-pixels.mp4",
    `-f lavfi -i color=gray:size=8192x8192:rate=1:duration=1 -c:v libx264 -preset ultrafast {}`,
    failed("more than 16777216 pixels"),
    true,
  ),
  clip(
    "four-hours.mp4",
    `-f lavfi -i color=gray:size=16x16:rate=1/60:duration=14400 ${x264} {}`,
    failed("longer than 600 seconds"),
    true,
  ),
  changed("claims-four-hours.mp4", claimFourHours, failed("longer than 600 seconds"), true),
  clip(
    "eleven-minutes-unsaid.webm",
    "-f lavfi -i color=gray:size=16x16:rate=1:duration=660 -c:v libvpx -deadline realtime -cpu-used 8 -live 1 -f webm {}",
    failed("longer than 600 seconds"),
  ),
  steps("thousand-tracks.mp4", (place) => manyTracks(place, 1000), failed("more than 64 tracks"), true),
  steps("hundred-tracks.mp4", (place) => manyTracks(place, 100), failed("more than 64 tracks")),
  changed(
    "endless-table.mp4",
    (bytes) => patch(bytes, "moov/trak/mdia/minf/stbl/stsz", 16, 0x7fffffff),
    failed(noVideo),
  ),
  changed("nested-boxes.mp4", nest, failed(noVideo)),
  // Damaged.
  changed("damaged.mp4", (bytes) => damage(bytes, 5), failed("damaged")),
];

/** Files that look like something else, or tell a lie, and are good videos all the same. */
export const doubled: Entry[] = [
  steps("video-and-archive.mp4", (place) => append(place, zip()), ready(["180x320"]), true),
  steps(
    "video-and-page.mp4",
    (place) => append(place, Buffer.from("<!doctype html><script>alert(1)</script>")),
    ready(["180x320"]),
  ),
  changed("size-of-zero.mp4", zeroSize, ready(["180x320"])),
];

function text(name: string, content: (place: Place) => string | Uint8Array, fast = false, reason = noVideo): Entry {
  return steps(name, async (place) => writeFile(join(place.dir, place.file), content(place)), failed(reason), fast);
}

function changed(
  name: string,
  change: (bytes: Buffer, place: Place) => void | Buffer,
  expect: Entry["expect"],
  fast = false,
): Entry {
  const make = async (place: Place) => {
    await place.ffmpeg(`${whole} whole.mp4`);
    const bytes = await readFile(join(place.dir, "whole.mp4"));
    await writeFile(join(place.dir, place.file), change(bytes, place) ?? bytes);
  };
  return steps(name, make, expect, fast);
}

/** Cuts a file at a share of one of its top-level boxes. @param front with the index in front of the data. */
function cutAt(name: string, type: string, share: number, front: boolean, reason: string, fast = false): Entry {
  const make = async (place: Place) => {
    await place.ffmpeg(`${whole} ${front ? "-movflags +faststart" : ""} whole.mp4`.replace("  ", " "));
    const bytes = await readFile(join(place.dir, "whole.mp4"));
    const found = boxAt(bytes, type);
    await writeFile(join(place.dir, place.file), bytes.subarray(0, found.offset + Math.floor(found.size * share)));
  };
  return steps(name, make, failed(reason), fast);
}

async function cutFile(place: Place, format: string, share: number, options = ""): Promise<void> {
  await place.ffmpeg(`${whole} ${options ? `${options} ` : ""}whole.${format}`);
  const bytes = await readFile(join(place.dir, `whole.${format}`));
  await writeFile(join(place.dir, place.file), bytes.subarray(0, Math.floor(bytes.length * share)));
}

async function append(place: Place, tail: Uint8Array): Promise<void> {
  await place.ffmpeg(`${whole} whole.mp4`);
  const bytes = await readFile(join(place.dir, "whole.mp4"));
  await writeFile(join(place.dir, place.file), Buffer.concat([bytes, tail]));
}

async function songWithCover({ ffmpeg, file }: Place): Promise<void> {
  await ffmpeg("-f lavfi -i testsrc=size=64x64 -frames:v 1 -c:v png cover.png");
  await ffmpeg(`${beep()} -i cover.png -map 0 -map 1 -c:v copy ${aac} -disposition:v attached_pic ${file}`);
}

async function subtitlesOnly({ dir, ffmpeg, file }: Place): Promise<void> {
  await writeFile(join(dir, "words.srt"), "1\n00:00:00,000 --> 00:00:01,000\nHello\n");
  await ffmpeg(`-i words.srt -c:s srt ${file}`);
}

async function manyTracks({ dir, ffmpeg, file }: Place, length: number): Promise<void> {
  await ffmpeg(`${whole} whole.mp4`);
  const bytes = await readFile(join(dir, "whole.mp4"));
  const moov = boxAt(bytes, "moov");
  const content = bytes.subarray(moov.offset + 8, moov.offset + moov.size);
  const trak = boxAt(bytes, "moov/trak");
  const one = bytes.subarray(trak.offset, trak.offset + trak.size);
  const many = box("moov", Buffer.concat([content, ...Array.from({ length }, () => one)]));
  await writeFile(join(dir, file), Buffer.concat([bytes.subarray(0, moov.offset), many]));
}

/** Makes the data of the first track lie at a URL instead of in the file. */
function referTo(bytes: Buffer, { bait }: Place): Buffer {
  const url = boxAt(bytes, "moov/trak/mdia/minf/dinf");
  const entry = box("url ", Buffer.concat([Buffer.alloc(4), Buffer.from(`${bait}/i.mp4\0`)]));
  const dref = box("dref", Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]), entry]));
  const grown = Buffer.concat([
    bytes.subarray(0, url.offset),
    box("dinf", dref),
    bytes.subarray(url.offset + url.size),
  ]);
  const more = box("dinf", dref).length - url.size;
  for (const path of ["moov", "moov/trak", "moov/trak/mdia", "moov/trak/mdia/minf"]) {
    const { offset, size } = boxAt(bytes, path);
    grown.writeUInt32BE(size + more, offset);
  }
  const mdat = boxAt(grown, "mdat");
  return Buffer.concat([grown.subarray(0, mdat.offset), box("free"), grown.subarray(mdat.offset + mdat.size)]);
}

function claimFourHours(bytes: Buffer): void {
  const scale = bytes.readUInt32BE(boxAt(bytes, "moov/mvhd").offset + 20);
  patch(bytes, "moov/mvhd", 24, scale * 14_400);
  patch(bytes, "moov/trak/tkhd", 28, scale * 14_400);
  const own = bytes.readUInt32BE(boxAt(bytes, "moov/trak/mdia/mdhd").offset + 20);
  patch(bytes, "moov/trak/mdia/mdhd", 24, own * 14_400);
  const edit = boxesOf(bytes, boxAt(bytes, "moov/trak/edts").offset + 8).find(({ type }) => type === "elst");
  if (edit) bytes.writeUInt32BE(scale * 14_400, edit.offset + 16);
}

function nest(bytes: Buffer): Buffer {
  let inner: Buffer = box("free");
  for (let depth = 0; depth < 20_000; depth++) inner = box("moov", inner);
  return Buffer.concat([bytes.subarray(0, boxAt(bytes, "ftyp").size), inner]);
}

function rename(bytes: Buffer, from: string, to: string): void {
  bytes.write(to, bytes.lastIndexOf(from), "latin1");
}

function zeroSize(bytes: Buffer): void {
  const at = bytes.lastIndexOf("avc1");
  bytes.writeUInt32BE(0, at + 28);
}

/** Overwrites a share of the data with noise, always the same. */
function damage(bytes: Buffer, every: number): void {
  const { offset, size } = boxAt(bytes, "mdat");
  const rubbish = noise(size);
  for (let at = 0; at < size - 8; at++) {
    if (Math.floor(at / 1000) % every !== 0) bytes[offset + 8 + at] = rubbish[at] ?? 0;
  }
}

/** A linear congruential generator (Numerical Recipes): the same bytes every time. */
function noise(length: number): Buffer {
  let state = 12_345;
  return Buffer.from(
    Uint8Array.from({ length }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state >>> 24;
    }),
  );
}

/** An archive without any file in it: its end of directory. */
function zip(): Buffer {
  return Buffer.concat([Buffer.from("PK\x05\x06", "latin1"), Buffer.alloc(18)]);
}
