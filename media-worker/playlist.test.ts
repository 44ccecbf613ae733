import { expect, test } from "bun:test";

import { masterPlaylist, readUse } from "./playlist.ts";

const playlist = (...segments: [seconds: number, bytes: number][]) =>
  segments.map(([seconds, bytes]) => `#EXTINF:${seconds.toFixed(6)},\n#EXT-X-BYTERANGE:${bytes}@0\nx.mp4`).join("\n");
/** As it stands in an MP4: the box's name, version 1, profile, constraints, level. */
const head = new Uint8Array([0, 0, 0, 1, ...Buffer.from("avcC"), 1, 0x64, 0x00, 0x1f, 0xff]);
const rung = {
  name: "540",
  width: 540,
  height: 960,
  frameRate: 30,
  playlist: playlist([2, 100_000], [2, 50_000]),
  head,
};

test("bits a second are those of the dearest segment, and of all", () => {
  expect(readUse(rung.playlist)).toEqual({ peak: 400_000, average: 300_000 });
});

test("a short rest does not count as the dearest", () => {
  expect(readUse(playlist([2, 100_000], [0.1, 50_000])).peak).toBe(400_000);
  expect(readUse(playlist([0.1, 10_000])).peak).toBe(800_000);
});

test("the master playlist names every rendition with what it takes, and the sound once", () => {
  const wide = { ...rung, name: "720", width: 720, height: 1280, frameRate: 29.97 };
  expect(masterPlaylist([rung, wide], playlist([2, 25_000]))).toBe(
    `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="sound",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="hls-sound.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=500000,AVERAGE-BANDWIDTH=400000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=540x960,FRAME-RATE=30.000,AUDIO="sound"
hls-540.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=500000,AVERAGE-BANDWIDTH=400000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=720x1280,FRAME-RATE=29.970,AUDIO="sound"
hls-720.m3u8
`,
  );
});

test("a silent video has no sound to choose", () => {
  const text = masterPlaylist([rung], null);
  expect(text).not.toContain("sound");
  expect(text).toContain('CODECS="avc1.64001f",');
});

test("a stream that says nothing of its profile is a fault of ours", () => {
  expect(() => masterPlaylist([{ ...rung, head: new Uint8Array(100) }], null)).toThrow("nothing of its profile");
});
