import { join } from "node:path";

/** A clip as a phone films it. */
export interface PhoneClip {
  width: number;
  height: number;
  seconds: number;
  /** Of the picture, in bits a second. */
  bitrate: number;
}

const limitMs = 600_000;
const texture = "phone-texture.png";

/**
 * Makes a clip that is as hard to decode and to encode as a filmed one: detail of every size (a part of the Mandelbrot set), moved by an
 * unsteady hand, with new grain in each picture; H.264 without B pictures, 30 a second, a keyframe a second, as a phone's encoder
 * writes it, and AAC at 44.1 kHz.
 *
 * @returns its path.
 */
export async function makePhoneClip(dir: string, { width, height, seconds, bitrate }: PhoneClip): Promise<string> {
  const path = join(dir, `phone-${width}.mp4`);
  const set = "mandelbrot=size=1600x2400:start_scale=0.02:start_x=-0.7436:start_y=0.1318:maxiter=400";
  await ffmpeg(dir, ["-f", "lavfi", "-i", set, "-frames:v", "1", texture]);
  const hand = "crop=1080:1920:x='260+180*sin(t*0.9)+7*sin(t*11)':y='240+160*cos(t*0.7)+6*sin(t*13)'";
  const filmed = `${hand},scale=${width}:${height}:flags=bilinear,noise=alls=6:allf=t,format=yuv420p`;
  const encoder = `-c:v libx264 -preset superfast -bf 0 -g 30 -b:v ${bitrate} -maxrate ${bitrate} -bufsize ${bitrate}`;
  const sources = `-loop 1 -framerate 30 -i ${texture} -f lavfi -i anoisesrc=c=pink:a=0.2:r=44100:seed=1 -t ${seconds}`;
  await ffmpeg(dir, [...sources.split(" "), "-vf", filmed, ...encoder.split(" "), "-c:a", "aac", "-b:a", "128k", path]);
  return path;
}

async function ffmpeg(cwd: string, args: string[]): Promise<void> {
  const child = Bun.spawn(["ffmpeg", "-nostdin", "-v", "error", "-y", ...args], {
    cwd,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: limitMs,
  });
  const [complaint] = await Promise.all([child.stderr.text(), child.exited]);
  if (child.exitCode !== 0) throw new Error(`ffmpeg could not make the clip: ${complaint}`);
}
