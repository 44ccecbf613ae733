import { expect, test } from "bun:test";
import { isAbsolute } from "node:path";

import { readDevEnv } from "./env.ts";

test("without any variable everything is private, on ports of its own", () => {
  const env = readDevEnv({});
  expect(env.external).toEqual({});
  expect(env.ports.gateway).toBe(8080);
  expect(new Set(Object.values(env.ports)).size).toBe(Object.keys(env.ports).length);
  expect(env.dataDir).toEndWith("/.data");
});

test("ports and the data folder can be chosen", () => {
  const env = readDevEnv({ FLICK_PORT: "9000", FLICK_MYSQL_PORT: "9001", FLICK_DATA_DIR: "elsewhere" });
  expect(env.ports).toMatchObject({ gateway: 9000, mysql: 9001 });
  expect(isAbsolute(env.dataDir)).toBe(true);
});

test("servers that are named replace the private ones", () => {
  const oss = {
    OSS_URL: "https://oss.example/",
    OSS_REGION: "oss-cn-hangzhou",
    OSS_BUCKET: "videos",
    OSS_ACCESS_KEY_ID: "id",
    OSS_ACCESS_KEY_SECRET: "secret",
  };
  const env = readDevEnv({
    MYSQL_URL: "mysql://db.example/flick",
    REDIS_URL: "rediss://cache.example",
    UPSTASH_REDIS_REST_URL: "https://upstash.example",
    UPSTASH_REDIS_REST_TOKEN: "token",
    ...oss,
  });
  expect(env.external).toEqual({
    mysqlUrl: "mysql://db.example/flick",
    redisUrl: "rediss://cache.example",
    upstash: { url: "https://upstash.example", token: "token" },
    oss: {
      url: "https://oss.example",
      publicUrl: "https://oss.example",
      region: "oss-cn-hangzhou",
      bucket: "videos",
      accessKeyId: "id",
      accessKeySecret: "secret",
    },
  });
  expect(readDevEnv({ ...oss, OSS_PUBLIC_URL: "https://cdn.example" }).external.oss?.publicUrl).toBe(
    "https://cdn.example",
  );
});

test.each([
  [{ FLICK_PORT: "0" }, "FLICK_PORT: must be a whole number from 1 to 65535"],
  [{ FLICK_REDIS_PORT: "http" }, "FLICK_REDIS_PORT: must be a whole number"],
  [{ MYSQL_URL: "postgres://db" }, "MYSQL_URL: must be a URL that begins with mysql://"],
  [{ OSS_URL: "https://oss.example" }, "OSS_REGION: is missing (OSS_URL is set)"],
  [
    { UPSTASH_REDIS_REST_URL: "https://u.example" },
    "UPSTASH_REDIS_REST_TOKEN: is missing (UPSTASH_REDIS_REST_URL is set)",
  ],
  [{ MAX_UPLOAD_BYTES: "1 GB" }, "MAX_UPLOAD_BYTES: must be a whole number"],
])("a bad variable is named with what was expected: %o", (env, message) => {
  expect(() => readDevEnv(env)).toThrow(message);
});
