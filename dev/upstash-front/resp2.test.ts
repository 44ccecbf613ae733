import { expect, test } from "bun:test";

import { createReplyReader, encodeCommands, ReplyError, type Reply } from "./resp2.ts";

function readAll(chunks: readonly Buffer[]): Reply[] {
  const replies: Reply[] = [];
  const read = createReplyReader((reply) => void replies.push(reply));
  for (const chunk of chunks) read(chunk);
  return replies;
}

const wire = Buffer.concat([
  Buffer.from("+OK\r\n-WRONGTYPE no\r\n:-7\r\n:9223372036854775807\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n$4\r\n"),
  Buffer.from([0xff, 0x0d, 0x0a, 0x00]),
  Buffer.from("\r\n*3\r\n*2\r\n:1\r\n*0\r\n$1\r\na\r\n*1\r\n*1\r\n-ERR inner\r\n+last\r\n"),
]);
const replies = [
  "OK",
  new ReplyError("WRONGTYPE no"),
  -7,
  9223372036854775807n,
  null,
  null,
  [],
  Buffer.alloc(0),
  Buffer.from([0xff, 0x0d, 0x0a, 0x00]),
  [[1, []], Buffer.from("a"), [[new ReplyError("ERR inner")]]],
  "last",
];

test("replies of every type are read, whatever the chunks they come in", () => {
  expect(readAll([wire])).toEqual(replies);
  expect(readAll([...wire].map((byte) => Buffer.from([byte])))).toEqual(replies);
  for (let cut = 1; cut < wire.length; cut++) {
    expect(readAll([wire.subarray(0, cut), wire.subarray(cut)])).toEqual(replies);
  }
});

test("a long value in many chunks is read in time that grows with its length only", () => {
  const size = 32 * 2 ** 20;
  const chunk = Buffer.alloc(16_384, "x");
  const chunks = [Buffer.from(`$${size}\r\n`), ...Array<Buffer>(size / chunk.length).fill(chunk), Buffer.from("\r\n")];
  const startedAt = performance.now();
  const [value] = readAll(chunks);
  expect(value).toHaveLength(size);
  // Putting the chunks together anew for each one would copy 32 GiB.
  expect(performance.now() - startedAt).toBeLessThan(2000);
});

test("arrays nest 128 deep and no deeper", () => {
  expect(readAll([Buffer.from(`${"*1\r\n".repeat(128)}:1\r\n`)])).toHaveLength(1);
  const deeper = () => readAll([Buffer.from("*1\r\n".repeat(129))]);
  expect(deeper).toThrow("a reply of Redis nests deeper than 128 arrays");
});

test("what is not RESP2 is refused", () => {
  for (const bytes of ["HTTP/1.1 400\r\n", "%1\r\n", "$x\r\n", "*-2\r\n", "\r\n"]) {
    expect(() => readAll([Buffer.from(bytes)])).toThrow("not RESP2");
  }
});

test("commands are encoded by bytes, not by characters", () => {
  expect(String(encodeCommands([["SET", "é"], ["PING"]]))).toBe("*2\r\n$3\r\nSET\r\n$2\r\né\r\n*1\r\n$4\r\nPING\r\n");
  const bytes = encodeCommands([["ECHO", Buffer.from([0xff])]]);
  expect(bytes.subarray(-3)).toEqual(Buffer.from([0xff, 0x0d, 0x0a]));
});
