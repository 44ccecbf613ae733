import { basename } from "node:path";
import { parseArgs } from "node:util";

import { runCommandLine, UsageError } from "@flick/platform/command.ts";

import { ApiError, createApiClient, type ApiClient } from "./api-client.ts";
import { titleOf, uploadFile, type UploadProgress } from "./upload-file.ts";

const help = `Publishes video files. An upload that broke off goes on where it was when the same command runs again.

  bun run upload FILE... [options]

  --user NAME --password PASSWORD   whose videos they become; the account is made if there is none
  --token TOKEN                     the same; or FLICK_TOKEN in the environment
  --title TITLE                     default: the file's name
  --parallel N                      parts in flight at once, 1 to 16; default 4
  --no-wait                         do not wait until the videos are ready
  --url URL                         default: http://127.0.0.1:8080 (FLICK_PORT)
`;

const mebibyte = 2 ** 20;
const readyWithinMs = 30 * 60_000;
const askAgainMs = 500;

await runCommandLine({ help, run: main, explain });

/** @returns the exit code: 1 when a video could not be published. */
async function main(args: string[]): Promise<number> {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const { values, positionals: files } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      url: text,
      user: text,
      password: text,
      token: text,
      title: text,
      parallel: text,
      "no-wait": flag,
    },
  });
  if (files.length === 0) throw new UsageError(help.trimEnd());
  const parallel = Number(values.parallel ?? 4);
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > 16) throw new Error("--parallel must be from 1 to 16");
  const api = createApiClient(values.url ?? `http://127.0.0.1:${process.env["FLICK_PORT"] ?? "8080"}`);
  const token = values.token ?? process.env["FLICK_TOKEN"] ?? (await signIn(api, values.user, values.password));
  let failures = 0;
  for (const path of files) {
    const title = values.title ?? titleOf(path);
    const show = createBar(basename(path));
    try {
      const { videoId, existed } = await uploadFile(api, token, path, {
        title,
        parallel,
        onProgress: showUpload(show),
      });
      if (existed) show.end(`is published already, as video ${videoId}`);
      else if (values["no-wait"]) show.end(`published as video ${videoId}`);
      else if (!(await waitUntilReady(api, token, videoId, show))) failures++;
    } catch (error) {
      show.end(explain(error));
      failures++;
    }
  }
  return failures > 0 ? 1 : 0;
}

async function signIn(api: ApiClient, user: string | undefined, password: string | undefined): Promise<string> {
  if (!user || !password) throw new Error("Whose videos are they? Give --user and --password, or --token.");
  try {
    return (await api.register(user, password)).token;
  } catch (error) {
    if (!(error instanceof ApiError) || error.httpStatus !== 200) throw error;
    return (await api.login(user, password)).token;
  }
}

function showUpload(show: Bar): (progress: UploadProgress) => void {
  let began: { at: number; bytes: number } | undefined;
  return ({ doing, bytes, size }) => {
    if (doing !== "sending") return show.draw(bytes / size, doing);
    began ??= { at: performance.now(), bytes };
    const seconds = (performance.now() - began.at) / 1000;
    const rate = seconds > 0.2 ? `, ${((bytes - began.bytes) / mebibyte / seconds).toFixed(1)} MiB/s` : "";
    show.draw(bytes / size, `${(bytes / mebibyte).toFixed(0)} of ${(size / mebibyte).toFixed(0)} MiB sent${rate}`);
  };
}

/** Tells whether it has become ready. */
async function waitUntilReady(api: ApiClient, token: string, videoId: number, show: Bar): Promise<boolean> {
  for (const deadline = Date.now() + readyWithinMs; Date.now() < deadline;) {
    const { status, percent, reason } = await api.publishStatus(token, videoId);
    if (status === "ready") {
      show.end(`ready as video ${videoId}`);
      return true;
    }
    if (status === "failed") {
      show.end(`video ${videoId} failed: ${reason}`);
      return false;
    }
    show.draw(percent / 100, status === "uploaded" ? "waits to be processed" : `processing, ${percent} %`);
    await Bun.sleep(askAgainMs);
  }
  show.end(`video ${videoId} is still not ready after ${readyWithinMs / 60_000} minutes`);
  return false;
}

interface Bar {
  draw(share: number, doing: string): void;
  end(result: string): void;
}

/** One line that is drawn over and over on a terminal; elsewhere a line for every tenth, and for every change of what is done. */
function createBar(name: string): Bar {
  let shown = "";
  return {
    draw(share, doing) {
      const filled = Math.floor(share * 20);
      if (process.stdout.isTTY) {
        process.stdout.write(`\r\x1b[2K${"█".repeat(filled)}${"░".repeat(20 - filled)} ${name}: ${doing}`);
        return;
      }
      const step = `${doing.replaceAll(/[\d.]+/g, "")} ${Math.floor(filled / 2)}`;
      if (step !== shown) process.stdout.write(`${name}: ${doing}\n`);
      shown = step;
    },
    end(result) {
      process.stdout.write(`${process.stdout.isTTY ? "\r\x1b[2K" : ""}${name}: ${result}\n`);
    },
  };
}

function explain(error: unknown): string {
  if (error instanceof ApiError) return `Flick said: ${error.message} (status_code ${error.statusCode})`;
  const { code, message } = error as { code?: string; message?: string };
  if (code === "ConnectionRefused" || code === "ECONNREFUSED")
    return "No Flick answers there. Start one with: npx --yes bun dev";
  return message ?? String(error);
}
