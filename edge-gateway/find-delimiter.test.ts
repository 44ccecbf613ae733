import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { createFinder, heldBack } from "./find-delimiter.ts";

/** Few different bytes, so that beginnings of a delimiter, and runs of one byte, are everywhere. */
const byte = fc.constantFrom(0x0d, 0x0a, 0x2d, 0x61, 0x62);
const bytesOf = (maxLength: number) => fc.array(byte, { maxLength }).map((list) => Uint8Array.from(list));
const delimiters = fc
  .tuple(fc.constantFrom("a", "-", "--------------------------a", "ab", "abab", "----WebKitFormBoundary"), bytesOf(20))
  .map(([beginning, end]) => Buffer.concat([Buffer.from(`\r\n--${beginning}`), end.filter((each) => each > 0x20)]));

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

test("the first delimiter is found wherever it stands, however the bytes lie in memory", () => {
  fc.assert(
    fc.property(
      delimiters,
      bytesOf(60),
      bytesOf(60),
      fc.nat(9),
      fc.nat(3),
      (delimiter, before, after, offset, count) => {
        const found = Array.from({ length: count }, () => [...delimiter, ...after]).flat();
        const all = Uint8Array.from([...Array.from({ length: offset }, () => 0x0d), ...before, ...found]);
        const bytes = all.subarray(offset);
        expect(createFinder(delimiter)(bytes)).toBe(latin1(bytes).indexOf(latin1(delimiter)));
      },
    ),
    { numRuns: 3_000 },
  );
});

test("what may be the beginning of a delimiter is held back, and no more", () => {
  fc.assert(
    fc.property(delimiters, bytesOf(80), fc.nat(30), (delimiter, before, length) => {
      const bytes = Buffer.concat([before, delimiter.subarray(0, Math.min(length, delimiter.length - 1))]);
      let longest = Math.min(bytes.length, delimiter.length - 1);
      while (!delimiter.subarray(0, longest).equals(bytes.subarray(bytes.length - longest))) longest--;
      expect(heldBack(bytes, delimiter)).toBe(longest);
    }),
    { numRuns: 1_000 },
  );
});
