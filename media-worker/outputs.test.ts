import { expect, test } from "bun:test";

import { createObjectStore } from "@flick/platform/object-store/ali-oss.ts";

import { createOutputs } from "./outputs.ts";

test("leftovers that storage cannot remove are told of, and are no reason to fail", async () => {
  const away = { endpoint: "http://localhost:1", region: "local", bucket: "flick", accessKeyId: "id" };
  const outputs = createOutputs(createObjectStore({ ...away, accessKeySecret: "a secret" }));
  expect(await outputs.removeOthers(1n, "videos/1/2/")).toBe(false);
});
