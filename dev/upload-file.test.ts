import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createApiClient } from "./api-client.ts";
import { titleOf, uploadFile } from "./upload-file.ts";

test("a part that has arrived although its answer was lost is not sent again", async () => {
  const dir = await mkdtemp(join(tmpdir(), "flick-upload-"));
  const path = join(dir, "clip.mp4");
  await Bun.write(path, Buffer.concat([Buffer.from("\0\0\0\x20ftypisom", "latin1"), Buffer.alloc(1000)]));
  const seen: string[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      const { pathname, origin } = new URL(request.url);
      seen.push(pathname);
      // As object storage answers when the address has expired meanwhile.
      if (pathname === "/part") return new Response("<Code>AccessDenied</Code>", { status: 403 });
      const isThere = seen.includes("/part");
      const part = { part_number: 1, size: 1012, url: `${origin}/part` };
      const upload = { upload_id: 7, part_size: 8192, content_type: "video/mp4", urls_expire_at: Date.now() + 900_000 };
      const answer = pathname.endsWith("/complete/") ? { video_id: 8 } : { ...upload, parts: isThere ? [] : [part] };
      return Response.json({ status_code: 0, status_msg: "success", video_id: 0, ...answer });
    },
  });
  const uploaded = await uploadFile(createApiClient(server.url.href), "token", path, { title: "clip", firstWaitMs: 1 });
  expect(uploaded).toEqual({ videoId: 8, existed: false });
  expect(seen).toEqual(["/douyin/upload/", "/part", "/douyin/upload/", "/douyin/upload/complete/"]);
  await server.stop(true);
  await rm(dir, { recursive: true });
});

test.each([
  ["/a/My day.mp4", "My day"],
  ["clip.final.MOV", "clip.final"],
  ["none", "none"],
  [`${"🎬".repeat(120)}.mp4`, "🎬".repeat(100)],
  [`${"x".repeat(99)}🎬🎬.mp4`, `${"x".repeat(99)}🎬`],
])("a video of the file %s is called %s", (path, title) => {
  expect(titleOf(path)).toBe(title);
});
