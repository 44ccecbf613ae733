import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { codeToHttpStatus, errorFromJson } from "@connectrpc/connect/protocol-connect";
import { videos, workCounts } from "@flick/db/schema/video.ts";
import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { PublishResponseSchema, VideoStatus } from "@flick/proto/gen/flick/video/v1/video_pb.ts";
import { eq } from "drizzle-orm";

import { startTestOrigin, type TestOrigin } from "../testing.ts";
import { videoPath } from "../testing-uploads.ts";

const maxFileBytes = 256 * 1024;

let origin: TestOrigin;
let author: { userId: number; token: string };
beforeAll(async () => {
  origin = await startTestOrigin({ MAX_UPLOAD_BYTES: String(maxFileBytes) }, { store: true });
  author = await origin.signUp();
});
afterAll(() => origin.stop());

/** Begins as an MP4 does; no test here decodes it. */
function video(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  bytes.set(Buffer.from("\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", "latin1").subarray(0, size));
  return bytes;
}

type Part = [name: string, value: string | Uint8Array<ArrayBuffer>];

function form(...parts: Part[]): FormData {
  const body = new FormData();
  for (const [name, value] of parts) {
    if (typeof value === "string") body.append(name, value);
    else body.append(name, new Blob([value]), "clip.mp4");
  }
  return body;
}

/** The id of the new video, or the name of the reason. */
async function outcome(response: Response): Promise<number | string | undefined> {
  const body = (await response.json()) as JsonValue;
  if (response.ok) return Number(fromJson(PublishResponseSchema, body).videoId);
  const error = errorFromJson(body, undefined, new Error("no Connect error") as never);
  expect(response.status).toBe(codeToHttpStatus(error.code));
  return Reason[reasonOf(error)];
}

const rawObjects = async () => (await origin.objects.list("raw/")).length;
const rows = () => origin.db.$count(videos);

/** Runs a refused upload and sees that it left neither a row nor an object. */
async function leavesNothing(run: () => Promise<unknown>): Promise<void> {
  const before = [await rawObjects(), await rows()];
  await run();
  const deadline = Date.now() + 10_000;
  while ((await rawObjects()) !== before[0] && Date.now() < deadline) await Bun.sleep(20);
  expect([await rawObjects(), await rows()]).toEqual(before as [number, number]);
}

describe("an upload", () => {
  test("is stored whole and becomes a job, and its author sees it at once with links that load", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(65_536));
    const file = video(200_000);
    file.set(bytes, 1000);
    const id = await outcome(
      await origin.upload(form(["data", file], ["title", "My 🎬 day"]), { token: author.token }),
    );
    const [row] = await origin.db
      .select()
      .from(videos)
      .where(eq(videos.id, Number(id)));
    expect(row).toMatchObject({ status: "uploaded", authorId: author.userId, title: "My 🎬 day", jobAttempts: 0 });

    const { videos: list } = await origin.as(author.token).video.listPublished({});
    expect(list[0]).toMatchObject({ id: BigInt(Number(id)), status: VideoStatus.UPLOADED, title: "My 🎬 day" });
    const played = await fetch(list[0]?.playUrl ?? "");
    expect(new Uint8Array(await played.arrayBuffer())).toEqual(file);
    expect((await fetch(list[0]?.coverUrl ?? "")).status).toBe(200);
  });

  test("counts among its author's works", async () => {
    const { userId, token } = await origin.signUp();
    for (let work = 0; work < 3; work++) {
      await outcome(await origin.upload(form(["data", video(1000)], ["title", "work"]), { token }));
    }
    expect((await origin.as(token).user.getUser({})).user?.workCount).toBe(3n);
    expect(await origin.db.$count(videos, eq(videos.authorId, userId))).toBe(3);
    const [count] = await origin.db.select().from(workCounts).where(eq(workCounts.userId, userId));
    expect(count?.count).toBe(3);
  });

  test.each([
    ["before the file", (token: string) => form(["token", token], ["title", "t"], ["data", video(5000)])],
    [
      "after the file, as the Android app sends it",
      (token: string) => form(["data", video(5000)], ["token", token], ["title", "t"]),
    ],
  ])("may bring its token and title in fields %s", async (_where, make) => {
    expect(await outcome(await origin.upload(make(author.token)))).toBeNumber();
  });

  test("may bring its title in the query", async () => {
    const response = await origin.upload(form(["data", video(5000)]), {
      token: author.token,
      query: "?title=from%20the%20query",
    });
    const [row] = await origin.db
      .select()
      .from(videos)
      .where(eq(videos.id, Number(await outcome(response))));
    expect(row?.title).toBe("from the query");
  });

  test("believes the header's token before the field's", async () => {
    const other = await origin.signUp();
    const response = await origin.upload(form(["token", other.token], ["title", "t"], ["data", video(99)]), {
      token: author.token,
    });
    const [row] = await origin.db
      .select()
      .from(videos)
      .where(eq(videos.id, Number(await outcome(response))));
    expect(row?.authorId).toBe(author.userId);
  });

  test("may be exactly as large as the limit", async () => {
    expect(
      await outcome(await origin.upload(form(["data", video(maxFileBytes)], ["title", "t"]), { token: author.token })),
    ).toBeNumber();
  });
});

const text = (length: number) => new TextEncoder().encode("a".repeat(length));
const png = new Uint8Array(500);
png.set([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const heic = video(500);
heic.set(new TextEncoder().encode("heic"), 8);

describe("an upload is refused, and leaves nothing behind, when", () => {
  test.each<[string, string, Part[]]>([
    [
      "the file is text",
      "NOT_A_VIDEO",
      [
        ["data", text(5000)],
        ["title", "t"],
      ],
    ],
    [
      "the file is a PNG under another name",
      "NOT_A_VIDEO",
      [
        ["data", png],
        ["title", "t"],
      ],
    ],
    [
      "the file is a still picture in a video's container",
      "NOT_A_VIDEO",
      [
        ["data", heic],
        ["title", "t"],
      ],
    ],
    [
      "the file is empty",
      "NOT_A_VIDEO",
      [
        ["data", new Uint8Array()],
        ["title", "t"],
      ],
    ],
    [
      "the file has 10 bytes",
      "NOT_A_VIDEO",
      [
        ["data", video(10)],
        ["title", "t"],
      ],
    ],
    ["there is no file", "MISSING_FILE", [["title", "t"]]],
    [
      "the file is in another field",
      "INVALID_PARAMETER",
      [
        ["file", video(500)],
        ["title", "t"],
      ],
    ],
    [
      "there are two files",
      "INVALID_PARAMETER",
      [
        ["data", video(500)],
        ["data", video(500)],
        ["title", "t"],
      ],
    ],
    ["the title is missing", "INVALID_PARAMETER", [["data", video(500)]]],
    [
      "the title is blank",
      "INVALID_PARAMETER",
      [
        ["data", video(500)],
        ["title", "  "],
      ],
    ],
    [
      "the title has 101 characters",
      "INVALID_PARAMETER",
      [
        ["data", video(500)],
        ["title", "é".repeat(101)],
      ],
    ],
    [
      "the title before the file has 101 characters",
      "INVALID_PARAMETER",
      [
        ["title", "é".repeat(101)],
        ["data", video(500)],
      ],
    ],
    [
      "a field has more than 4 096 bytes",
      "INVALID_PARAMETER",
      [
        ["data", video(500)],
        ["title", "x".repeat(5000)],
      ],
    ],
    [
      "there are 20 fields",
      "INVALID_PARAMETER",
      [["data", video(500)], ...Array.from({ length: 20 }, (_, i): Part => [`f${i}`, "x"])],
    ],
    [
      "the file is one byte over the limit",
      "TOO_LARGE",
      [
        ["data", video(maxFileBytes + 1)],
        ["title", "t"],
      ],
    ],
  ])("%s", async (_case, reason, parts) => {
    await leavesNothing(async () => {
      expect(await outcome(await origin.upload(form(...parts), { token: author.token }))).toBe(reason);
    });
  });

  test.each<[string, Part[]]>([
    [
      "there is no token",
      [
        ["data", video(5000)],
        ["title", "t"],
      ],
    ],
    [
      "the token before the file is forged",
      [
        ["token", "a.b.c"],
        ["data", video(5000)],
        ["title", "t"],
      ],
    ],
    [
      "the token after the file is forged",
      [
        ["data", video(5000)],
        ["title", "t"],
        ["token", "a.b.c"],
      ],
    ],
  ])("%s", async (_case, parts) => {
    await leavesNothing(async () => expect(await outcome(await origin.upload(form(...parts)))).toBe("UNAUTHENTICATED"));
  });

  test("the header's token is forged, although the field's is good", async () => {
    const body = form(["token", author.token], ["data", video(500)], ["title", "t"]);
    expect(await outcome(await origin.upload(body, { token: "a.b.c" }))).toBe("UNAUTHENTICATED");
  });

  test("the body is no form", async () => {
    const send = (type: string, body: string) =>
      origin.upload(body, { token: author.token, headers: { "content-type": type } });
    expect(await outcome(await send("application/json", "{}"))).toBe("UNSUPPORTED_MEDIA_TYPE");
    expect(await outcome(await send("multipart/form-data", "x"))).toBe("INVALID_PARAMETER");
    expect(await outcome(await send("multipart/form-data; boundary=b", "rubbish"))).toBe("INVALID_PARAMETER");
  });

  test("the form ends in the middle of its file", async () => {
    const cut = ['--b\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n', video(50_000)];
    await leavesNothing(async () => {
      const headers = { "content-type": "multipart/form-data; boundary=b" };
      expect(await outcome(await origin.upload(new Blob(cut), { token: author.token, headers }))).toBe(
        "INVALID_PARAMETER",
      );
    });
  });

  test("its client goes away half-way", async () => {
    await leavesNothing(async () => {
      const abort = new AbortController();
      const body = new ReadableStream({
        async start(controller) {
          controller.enqueue('--b\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n');
          controller.enqueue(video(100_000));
          await Bun.sleep(200);
          abort.abort();
        },
      });
      const call = fetch(`${origin.uploadUrl}${videoPath}`, {
        method: "POST",
        body,
        signal: abort.signal,
        headers: { "content-type": "multipart/form-data; boundary=b", authorization: `Bearer ${author.token}` },
      });
      await expect(call).rejects.toThrow();
      await Bun.sleep(200);
    });
  });
});

test("an upload over the limit is refused before its body is read", async () => {
  const socket = await rawUpload(["content-length: 900000000", `authorization: Bearer ${author.token}`]);
  expect(await socket.answer()).toStartWith(`HTTP/1.1 ${codeToHttpStatus(Code.OutOfRange)}`);
  socket.end();
});

test("an upload of unknown length is refused as soon as it passes the limit", async () => {
  const socket = await rawUpload(["transfer-encoding: chunked", `authorization: Bearer ${author.token}`]);
  const part = '--b\r\ncontent-disposition: form-data; name="data"; filename="a.mp4"\r\n\r\n';
  socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
  // Twice the limit, and the end of the body never comes.
  for (let sent = 0; sent < maxFileBytes * 2; sent += 16_384) {
    socket.write("4000\r\n");
    socket.write(video(16_384));
    socket.write("\r\n");
  }
  expect(await socket.answer()).toStartWith(`HTTP/1.1 ${codeToHttpStatus(Code.OutOfRange)}`);
  socket.end();
});

/** An upload whose bytes the test writes itself. */
async function rawUpload(headers: string[]) {
  const { hostname, port } = new URL(origin.uploadUrl);
  const received = Promise.withResolvers<string>();
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data: (_socket, data) => received.resolve(data.toString()),
      error: () => {},
    },
  });
  const type = "content-type: multipart/form-data; boundary=b";
  socket.write([`POST ${videoPath} HTTP/1.1`, `host: ${hostname}`, type, ...headers, "", ""].join("\r\n"));
  return {
    write: (data: string | Uint8Array<ArrayBuffer>) => socket.write(data),
    end: () => socket.end(),
    answer: () => Promise.race([received.promise, Bun.sleep(5_000).then(() => "no answer")]),
  };
}
