import { join } from "node:path";

export interface DemoClip {
  title: string;
  seconds: number;
  /** What FFmpeg's `lavfi` draws, with its size. */
  picture: string;
  /** What it plays: an expression of `aevalsrc`, where t is the time in seconds. */
  sound: string;
}

const portrait = "720x1280";
const landscape = "1280x720";
const square = "720x720";

const melody = (notes: number[], beat: number) => {
  const note = notes
    .map((hertz, index) => `eq(mod(floor(t/${beat}),${notes.length}),${index})*sin(2*PI*${hertz}*t)`)
    .join("+");
  return `0.25*(${note})*exp(-3*mod(t,${beat})/${beat})`;
};
const chord = (...hertz: number[]) => `0.12*(${hertz.map((each) => `sin(2*PI*${each}*t)`).join("+")})*min(1,t)`;

/** A dozen short clips of several shapes and lengths, all drawn and composed by FFmpeg. */
export const demoClips: readonly DemoClip[] = [
  {
    title: "Into the Mandelbrot set 🌀",
    seconds: 8,
    picture: `mandelbrot=size=${portrait}:rate=25:end_scale=0.02`,
    sound: chord(110, 165, 220),
  },
  {
    title: "Slow sunset",
    seconds: 10,
    picture: `gradients=size=${portrait}:rate=30:c0=0xff7a18:c1=0x6a11cb:c2=0x0f2027:nb_colors=3:speed=0.02:seed=3`,
    sound: melody([220, 262, 330, 392], 0.5),
  },
  {
    title: "Game of Life, played by nobody",
    seconds: 6,
    picture: `life=size=90x160:rate=15:ratio=0.3:mold=12:seed=7:death_color=0x6a5cff:life_color=0xffffff:mold_color=0x1b1840,scale=${portrait}:flags=neighbor`,
    sound: melody([523, 659, 784], 0.2),
  },
  {
    title: "Test card, but make it dance",
    seconds: 5,
    picture: `testsrc2=size=${portrait}:rate=30`,
    sound: melody([440, 554, 659, 880], 0.25),
  },
  {
    title: "Sierpinski drifting",
    seconds: 7,
    picture: `sierpinski=size=${portrait}:rate=25:seed=11,hue=h=40*t`,
    sound: chord(196, 247, 294),
  },
  {
    title: "Rule 110 🐛",
    seconds: 6,
    picture: `cellauto=size=180x320:rate=25:rule=110:random_seed=5:random_fill_ratio=0.4,scale=${portrait}:flags=neighbor,lutrgb=r=val*0.4:b=val+40`,
    sound: melody([147, 175, 220, 262, 220, 175], 0.15),
  },
  {
    title: "Ripples",
    seconds: 6,
    picture: `color=size=360x640:rate=20,geq=lum='128+90*sin(hypot(X-180,Y-320)/9-T*6)':cb='128+60*sin(T+X/90)':cr='128+60*cos(T+Y/120)',scale=${portrait}`,
    sound: chord(130, 196, 311),
  },
  {
    title: "Wide open plain",
    seconds: 9,
    picture: `gradients=size=${landscape}:rate=30:c0=0x11998e:c1=0x38ef7d:c2=0xfdfc47:nb_colors=3:speed=0.03:seed=9`,
    sound: melody([330, 392, 494, 587], 0.4),
  },
  {
    title: "Mandelbrot, the landscape cut",
    seconds: 5,
    picture: `mandelbrot=size=${landscape}:rate=25:start_x=-0.75:start_y=0.1:end_scale=0.01,hue=h=90`,
    sound: chord(98, 147, 247),
  },
  {
    title: "Colour bars at 3 a.m. 📺",
    seconds: 4,
    picture: `smptehdbars=size=${landscape}:rate=25,hue=s=1+sin(2*t)`,
    sound: "0.15*sin(2*PI*1000*t)",
  },
  {
    title: "Spin cycle",
    seconds: 6,
    picture: `testsrc2=size=${square}:rate=30,rotate=a=t*PI/3:c=0x1b1840`,
    sound: melody([262, 330, 392, 523], 0.18),
  },
  {
    title: "Neon life",
    seconds: 12,
    picture: `life=size=120x120:rate=12:ratio=0.45:rule=S23/B36:mold=30:seed=21:life_color=0x39ff14:death_color=0xff00aa:mold_color=0x220033,scale=${square}:flags=neighbor`,
    sound: melody([196, 233, 294, 349], 0.3),
  },
];

/** Renders one clip to an MP4 in `dir` and returns its path. */
export async function renderClip(clip: DemoClip, dir: string, index: number): Promise<string> {
  const path = join(dir, `${index}.mp4`);
  const inputs = [
    "-f",
    "lavfi",
    "-i",
    clip.picture,
    "-f",
    "lavfi",
    "-i",
    `aevalsrc=exprs='${clip.sound}':sample_rate=44100`,
  ];
  const video = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", "-pix_fmt", "yuv420p"];
  const command = [
    "ffmpeg",
    "-v",
    "error",
    "-nostdin",
    "-y",
    ...inputs,
    "-t",
    String(clip.seconds),
    ...video,
    "-c:a",
    "aac",
    path,
  ];
  const ffmpeg = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe", timeout: 120_000 });
  const [code, complaint] = await Promise.all([ffmpeg.exited, new Response(ffmpeg.stderr).text()]);
  if (code !== 0) throw new Error(`ffmpeg could not make "${clip.title}": ${complaint.trim().slice(0, 500)}`);
  return path;
}
