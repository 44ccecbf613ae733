import { describe, expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { readForm } from "./form.ts";
import { openBytes } from "./large-reads.ts";

const type = "multipart/form-data; boundary=b";

/** A body that arrives in these pieces, and what became of it. */
function arriving(pieces: Iterable<Uint8Array>) {
  const left = [...pieces].values();
  const seen = { read: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const { done, value } = left.next();
        if (done) return controller.close();
        seen.read++;
        controller.enqueue(value);
      },
      cancel: () => void (seen.cancelled = true),
    },
    { highWaterMark: 0 },
  );
  return { body, seen };
}

interface Read {
  fields: [string, string][];
  files: [string, string][];
}

/** Reads a form whose files are kept as text. */
async function read(body: ReadableStream<Uint8Array>, contentType = type, maxFileBytes = 100_000): Promise<Read> {
  const { fields, files } = await readForm(
    { source: openBytes(body, 1_000), contentType },
    {
      fileFields: ["data", "more"],
      maxFileBytes,
      takeFile: async ({ name, bytes }) => `${name}: ${Buffer.concat(await Array.fromAsync(bytes)).toString("latin1")}`,
    },
  );
  return { fields: [...fields], files: [...files] };
}

const readText = (text: string, contentType = type) => read(arriving([Buffer.from(text, "latin1")]).body, contentType);

function outcome(reading: Promise<unknown>): Promise<string> {
  return reading.then(
    () => "ok",
    (error: unknown) => `${Reason[reasonOf(error)]}: ${(error as { rawMessage?: string }).rawMessage}`,
  );
}

const part = (headers: string, body: string) => `--b\r\n${headers}\r\n\r\n${body}\r\n`;
const field = (name: string, value: string) => part(`content-disposition: form-data; name="${name}"`, value);
const file = (name: string, body: string, fileName = "a.mp4") =>
  part(`content-disposition: form-data; name="${name}"; filename="${fileName}"\r\ncontent-type: video/mp4`, body);
const end = "--b--\r\n";

/** Much of it looks like the beginning of a delimiter. */
const tricky = "\r\n--\r\n-\r\n--c\r\r\n\r\n--B--b--\r\n\r--b\n--b\r\n-";

describe("a form", () => {
  test("is the same however it is cut into pieces", async () => {
    const text = `${field("token", "t")}${file("data", tricky)}${field("title", "line\r\nline")}${file("more", "")}${end}`;
    const whole = await readText(text);
    expect(whole).toEqual({
      fields: [
        ["token", "t"],
        ["title", "line\r\nline"],
      ],
      files: [
        ["data", `a.mp4: ${tricky}`],
        ["more", "a.mp4: "],
      ],
    });
    const bytes = Buffer.from(text, "latin1");
    for (let at = 0; at <= bytes.length; at++) {
      const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
      expect(await read(arriving(pieces).body)).toEqual(whole);
    }
    for (const size of [1, 2, 3, 5, 7]) {
      const count = Math.ceil(bytes.length / size);
      const pieces = Array.from({ length: count }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
      expect(await read(arriving(pieces).body)).toEqual(whole);
    }
  });

  test("is what a browser makes, whatever its names are", async () => {
    const form = new FormData();
    form.append("title", "My 🎬 day");
    form.append("data", new Blob(["video"]), 'a"; name="title".mp4');
    const response = new Response(form);
    const contentType = response.headers.get("content-type") ?? "";
    if (!response.body) throw new Error("there is no body");
    const { fields, files } = await read(response.body, contentType);
    expect(fields).toEqual([["title", "My 🎬 day"]]);
    expect(files.map(([name]) => name)).toEqual(["data"]);
    expect(files[0]?.[1]).toEndWith(": video");
  });

  test("may be written in the ways of other clients", async () => {
    const odd = [
      "to be ignored\r\n--b \t\r\nContent-Disposition: FORM-DATA ; Name=title\r\nContent-Type: text/plain; charset=GBK\r\n\r\n\xc4\xe3\xba\xc3\r\n",
      part('content-disposition: form-data; filename="C:\\a\\b.mp4"; name="data"', "bytes"),
      part("content-disposition: form-data; name=more\r\ncontent-type: application/octet-stream", "nameless"),
      part("x-of-no-name: at all", "skipped"),
      part('content-disposition: attachment; name="title"', "skipped"),
      "--b\r\n\r\nwithout a header\r\n",
      "--b--and what follows",
    ];
    expect(await readText(odd.join(""), 'Multipart/Form-Data; charset=utf-8; boundary="b"')).toEqual({
      fields: [["title", "你好"]],
      files: [
        ["data", "C:ab.mp4: bytes"],
        ["more", ": nameless"],
      ],
    });
  });

  test("is not read further than its files are taken", async () => {
    const chunk = Buffer.alloc(1000, "x");
    const pieces = [Buffer.from(file("data", "").slice(0, -2)), ...Array.from({ length: 50 }, () => chunk)];
    const { body, seen } = arriving(pieces);
    const reading = readForm(
      { source: openBytes(body, 1_000), contentType: type },
      {
        fileFields: ["data"],
        maxFileBytes: 1e6,
        async takeFile({ bytes }) {
          const some = bytes[Symbol.asyncIterator]();
          for (let count = 0; count < 3; count++) await some.next();
          throw new Error("no more, thank you");
        },
      },
    );
    await expect(reading).rejects.toThrow("no more, thank you");
    expect(seen).toEqual({ read: 4, cancelled: true });
  });

  test("that ends early anywhere is refused", async () => {
    const text = `${field("token", "t")}${file("data", "video")}${end}`;
    for (let length = 0; length < text.length - 2; length++) {
      expect(await outcome(readText(text.slice(0, length)))).toContain("INVALID_PARAMETER: the form is not valid");
    }
  });
});

describe("a form is refused, and not read on, when", () => {
  const long = (length: number) => "x".repeat(length);
  test.each([
    ["it is none", "", "text/plain", "UNSUPPORTED_MEDIA_TYPE"],
    ["it has no boundary", end, "multipart/form-data", "boundary is missing"],
    ["its boundary is too long", end, `multipart/form-data; boundary=${long(71)}`, "longer than 70"],
    ["a file is too large", file("data", long(100_001)), type, "TOO_LARGE: data: at most 100000 bytes"],
    ["a field is too long", field("title", long(4097)), type, "title: at most 4096 bytes"],
    ["the name of a field is too long", field(long(101), ""), type, "at most 100 characters"],
    ["there are too many fields", field("a", "").repeat(17), type, "and 16 other fields"],
    ["there are too many parts without a name", part("a: b", "").repeat(17), type, "and 16 other fields"],
    ["the headers of a part are too long", part(`a: ${long(9000)}`, ""), type, "at most 8192 bytes"],
    [
      "a part has too many headers",
      part(Array.from({ length: 21 }, () => "a: b").join("\r\n"), ""),
      type,
      "20 headers",
    ],
    ["there is too much before its first part", long(9000) + field("a", ""), type, "before its first part"],
    ["there is too much after its end", end + long(9000), type, "after its end"],
    ["something follows the boundary", `--bb\r\n\r\n\r\n${end}`, type, "not valid multipart"],
    [
      "a text is in no known charset",
      part('content-disposition: form-data; name="a"\r\ncontent-type: a/b; charset=x', "") + end,
      type,
      "charset",
    ],
  ])("%s", async (_why, text, contentType, told) => {
    const { body, seen } = arriving([Buffer.from(text), Buffer.alloc(1000)]);
    expect(await outcome(read(body, contentType))).toContain(told);
    expect(seen.read).toBeLessThanOrEqual(2);
  });

  test("its connection breaks, which is not the fault of who takes the file", async () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(Buffer.from(file("data", "begun").slice(0, -2)));
        controller.error(new Error("reset"));
      },
    });
    expect(await outcome(read(body))).toContain("INVALID_PARAMETER: the form is not valid");
  });
});
