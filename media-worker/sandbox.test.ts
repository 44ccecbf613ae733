import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startBait } from "./corpus/corpus.ts";
import { createFfmpeg, FfmpegFailure } from "./ffmpeg.ts";
import { videoFormats, type FfmpegRun } from "./ffmpeg-run.ts";
import { chooseSandbox, signalBehind } from "./sandbox.ts";
import { makeScript, until } from "./testing.ts";

const programs = { ffmpegPath: "ffmpeg", ffprobePath: "ffprobe" };
const forever = AbortSignal.any([]);
const works = createFfmpeg(programs).fence.sandbox === "bubblewrap";

let dir: string;
/** Where the programs run: the folder of a job, with its upload. */
let job: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-sandbox-"));
  job = join(dir, "job");
  await mkdir(join(dir, "another-job"), { recursive: true });
  await mkdir(job);
  await writeFile(join(dir, "secret"), "nobody's business");
  await writeFile(join(job, "input"), "an upload");
});
afterAll(() => rm(dir, { recursive: true }));

/** What a program sees that is started as ffprobe is: it may read. */
async function seen(command: string): Promise<string> {
  const ffprobePath = await makeScript(dir, `{ ${command}; } >&2; exit 1`);
  const spy = createFfmpeg({ ...programs, ffprobePath, sandbox: "bubblewrap" });
  return failing(spy.probe(job, "input", { maxPixels: 1, formats: videoFormats, signal: forever }));
}

/** The same for one that is started as FFmpeg is: it may write. */
async function seenByWriter(command: string): Promise<string> {
  const ffmpegPath = await makeScript(dir, `{ [ "$1" = -version ] && exit; ${command}; } >&2; exit 1`);
  return failing(createFfmpeg({ ...programs, ffmpegPath, sandbox: "bubblewrap" }).run(job, run(), forever));
}

async function failing(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  if (!(error instanceof FfmpegFailure) || error.kind !== "exit") throw error;
  return error.output.stderr.trim();
}

function run(): FfmpegRun {
  const inputs = [{ file: "input", options: ["-v", "error"] }];
  return { inputs, filter: null, outputs: [{ file: "made", options: [] }], timeLimitMs: 20_000, maxOutputBytes: 1e6 };
}

describe.if(works)("in the sandbox, a program", () => {
  test("sees the folder of its job and no other file of this machine", async () => {
    expect(await seen("cat input")).toBe("an upload");
    for (const path of [
      join(dir, "secret"),
      join(dir, "another-job"),
      import.meta.dir,
      "/etc/passwd",
      "/proc",
      "/home",
    ]) {
      expect(await seen(`ls -d '${path}'`)).toContain("No such file or directory");
    }
    expect(await seen("ls /etc /usr")).not.toMatch(/passwd|src|share/);
  });

  test("reaches no server, this machine's neither", async () => {
    const bait = startBait();
    const ask = `exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/${new URL(bait.url).port} && echo GET / >&3 && echo reached'`;
    expect(await seen(ask)).toMatch(/Connection refused|Network is unreachable/);
    expect(bait.requests).toEqual([]);
    await bait.stop();
  });

  test("that may write does so in the folder of its job only, and not over the upload", async () => {
    expect(await seenByWriter("echo made > made; cat made")).toBe("made");
    for (const path of ["/x", "/dev/shm/x", "/usr/bin/x", "/etc/x", "input", "../x"]) {
      expect(await seenByWriter(`echo x > ${path}`)).toContain("Read-only file system");
    }
    expect(await seenByWriter("rm input")).toMatch(/busy/);
  });

  test("that may only read does not even make an empty file", async () => {
    expect(await seen("touch made-by-reader")).toContain("Read-only file system");
  });

  test("has no rights, sees no other program, and gets no environment", async () => {
    process.env["FLICK_TEST_SECRET"] = "nobody's business";
    const names = (await seen("env")).split("\n").map((line) => line.split("=")[0]);
    delete process.env["FLICK_TEST_SECRET"];
    expect(names.filter((name) => !["PWD", "OLDPWD", "SHLVL", "_"].includes(name ?? ""))).toEqual(["PATH"]);
    expect(await seen(`kill -0 ${process.pid}`)).toContain("No such process");
    expect(await seen("mount -t tmpfs none /job")).toMatch(/permission denied|must be superuser|not permitted/i);
  });

  test("has the same limits", async () => {
    expect(await seen("ulimit -t; ulimit -f; ulimit -c; ulimit -v")).toBe("30\n0\n0\n3145728");
  });

  test("is ended by a signal as elsewhere, and the signal is known", async () => {
    const message = await seenByWriter("kill -s XFSZ $$").catch((error: FfmpegFailure) => error.message);
    expect(message).toBe("ffmpeg was killed by SIGXFSZ");
  });

  test("is killed with all that it began when its time is over", async () => {
    const mark = `600.${process.pid}`;
    const ffmpegPath = await makeScript(dir, `[ "$1" = -version ] && exit; setsid sleep ${mark} & exec sleep ${mark}`);
    const slow = createFfmpeg({ ...programs, ffmpegPath, sandbox: "bubblewrap" });
    const done = slow.run(job, { ...run(), timeLimitMs: 3_000 }, forever).catch((error: FfmpegFailure) => error.kind);
    await until(() => sleepers(mark) === 2, "both to run");
    expect(await done).toBe("time limit");
    await until(() => sleepers(mark) === 0, "the end of both", 2_000);
  });
});

test.if(works)("a program in the sandbox is killed when nobody holds the other end of its input any more", async () => {
  const mark = `601.${process.pid}`;
  const slow = await makeScript(dir, `exec sleep ${mark}`);
  const limits = [process.pid, 30, 0, 1_000_000, 0].map(String);
  const launcher = join(import.meta.dir, "launch.sh");
  const child = Bun.spawn([launcher, slow, ...limits, "bubblewrap"], { cwd: job, stdin: "pipe", stdout: "ignore" });
  await until(() => sleepers(mark) === 1, "it to run");
  await child.stdin.end();
  await until(() => sleepers(mark) === 0, "its end", 2_000);
  expect(await child.exited).toBe(128 + 9);
});

describe("where bubblewrap does not work", () => {
  /** Calls with a bwrap that says what it says in most containers. */
  async function withoutNamespaces<T>(work: () => T | Promise<T>): Promise<T> {
    const path = process.env.PATH;
    const bin = await mkdtemp(join(dir, "bin-"));
    const complaint = "bwrap: No permissions to create new namespace";
    await writeFile(join(bin, "bwrap"), `#!/bin/sh\necho '${complaint}' >&2\nexit 1\n`, { mode: 0o755 });
    process.env.PATH = `${bin}:${path}`;
    try {
      return await work();
    } finally {
      process.env.PATH = path;
    }
  }

  test("the choice falls on none, with what it said", async () => {
    const { fence } = await withoutNamespaces(() => createFfmpeg(programs));
    expect(fence).toEqual({ sandbox: "none", why: "bwrap: No permissions to create new namespace" });
  });

  test("a worker that demands it does not start", async () => {
    const check = withoutNamespaces(() => createFfmpeg({ ...programs, sandbox: "bubblewrap" }).check());
    await expect(check).rejects.toThrow("bubblewrap cannot be used: bwrap: No permissions");
  });

  test("nobody is told why when nobody wanted it", () => {
    expect(chooseSandbox("none", ["false"])).toEqual({ sandbox: "none", why: null });
  });

  test.if(works)("later, that is no fault of the file", async () => {
    const ffmpeg = createFfmpeg({ ...programs, sandbox: "bubblewrap" });
    const asked = { maxPixels: 1, formats: videoFormats, signal: forever };
    const failure = await withoutNamespaces(() => ffmpeg.probe(job, "input", asked).catch((error: unknown) => error));
    expect(failure).toMatchObject({ kind: "start" });
  });
});

test("exit codes above 128 tell of signals", () => {
  expect([0, 1, 127, 128 + 9, 128 + 25, 255].map(signalBehind)).toEqual([null, null, null, "SIGKILL", "SIGXFSZ", null]);
});

/** How many programs of this machine sleep so long. */
function sleepers(seconds: string): number {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => commandLine(pid) === `sleep\0${seconds}\0`).length;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    // It has ended in the meantime.
    return "";
  }
}
