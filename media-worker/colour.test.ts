import { expect, test } from "bun:test";

import { planColour } from "./colour.ts";
import { pictureOf } from "./testing-probe.ts";

test.each(["smpte2084", "arib-std-b67"])("%s is tone-mapped to BT.709", (colorTransfer) => {
  const { filter, tags } = planColour(pictureOf({ colorTransfer, colorSpace: "bt2020nc", pixelFormat: "yuv420p10le" }));
  expect(filter).toContain(`color_trc=${colorTransfer}:colorspace=bt2020nc`);
  expect(filter).toContain("zscale=primaries=bt709,tonemap=tonemap=mobius:desat=0:peak=4.93,zscale");
  expect(filter).toEndWith("zscale=transfer=bt709:matrix=bt709:range=tv,format=yuv420p");
  expect(tags.space).toBe("bt709");
});

test("wide gamut of standard range is converted, not mapped", () => {
  const { filter } = planColour(pictureOf({ colorTransfer: "bt2020-10", colorSpace: "bt2020nc" }));
  expect(filter).toContain("zscale=primaries=bt709,zscale");
  expect(filter).not.toContain("tonemap");
});

test.each([
  ["bt709", { colorSpace: "bt709", width: 320, height: 240 }, "bt709"],
  ["smpte170m", { colorSpace: "smpte170m" }, "smpte170m"],
  ["bt470bg", { colorSpace: "bt470bg" }, "bt470bg"],
  ["nothing in a large one", { colorSpace: null }, "bt709"],
  ["nothing in a small one", { colorSpace: null, width: 640, height: 480 }, "smpte170m"],
  ["RGB", { colorSpace: "gbr", pixelFormat: "gbrp", width: 64, height: 64 }, "bt709"],
])("what says %s is tagged so that every rendition is seen alike", (_what, changes, space) => {
  const colour = planColour(pictureOf(changes));
  expect(colour.filter).toBe("format=yuv420p");
  expect(colour.tags.space).toBe(space);
});
