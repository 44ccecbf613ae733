import { expect, test } from "bun:test";

import { readBindings } from "./env.ts";

test("takes bindings as wrangler gives them, numbers as numbers or text", () => {
  const settings = { ORIGIN_URL: ["https://origin.example/base"], MAX_UPLOAD_BYTES: 100_000, IP_LIMIT_FACTOR: 1 };
  expect(readBindings({ ORIGIN_URL: "https://origin.example/base//", MAX_UPLOAD_BYTES: "100000" })).toEqual({
    settings,
  });
  const list = { ORIGIN_URL: "http://one:1/, https://two", MAX_UPLOAD_BYTES: 100_000, SOMETHING_ELSE: {} };
  expect(readBindings(list)).toEqual({ settings: { ...settings, ORIGIN_URL: ["http://one:1", "https://two"] } });
});

const badOrigin =
  "ORIGIN_URL must be a URL that begins with http:// or https://, or up to 64 of them with commas between them";

test.each<[unknown, string[]]>([
  [{}, ["ORIGIN_URL is missing", "MAX_UPLOAD_BYTES is missing"]],
  [{ ORIGIN_URL: "localhost:8090", MAX_UPLOAD_BYTES: 5000 }, [badOrigin]],
  [{ ORIGIN_URL: 7, MAX_UPLOAD_BYTES: 5000 }, [badOrigin]],
  ...["", "http://one,", "http://one,two", Array.from({ length: 65 }, () => "http://one").join()].map(
    (list): [unknown, string[]] => [{ ORIGIN_URL: list, MAX_UPLOAD_BYTES: 5000 }, [badOrigin]],
  ),
  ...["1 GiB", "", "-1", "1.5", 10, 1.5, 5e9, true].map((bytes): [unknown, string[]] => [
    { ORIGIN_URL: "http://o", MAX_UPLOAD_BYTES: bytes },
    ["MAX_UPLOAD_BYTES must be a whole number from 1024 to 4000000000"],
  ]),
  ...["0", 0, "many", 100_001].map((times): [unknown, string[]] => [
    { ORIGIN_URL: "http://o", MAX_UPLOAD_BYTES: 5000, IP_LIMIT_FACTOR: times },
    ["IP_LIMIT_FACTOR must be a whole number from 1 to 100000"],
  ]),
])("says what is wrong with %j", (env, problems) => {
  expect(readBindings(env)).toEqual({ problems });
});

test("takes a network to the origins that is a binding, and nothing else", () => {
  const others = { ORIGIN_URL: "http://o", MAX_UPLOAD_BYTES: 5000 };
  const ORIGIN_NETWORK = { fetch: () => {} };
  expect(readBindings({ ...others, ORIGIN_NETWORK })).toMatchObject({ settings: { ORIGIN_NETWORK } });
  expect(readBindings({ ...others, ORIGIN_NETWORK: "a tunnel" })).toEqual({
    problems: ["ORIGIN_NETWORK must be a binding that fetches: a VPC network or an mTLS certificate"],
  });
});

test("takes the address of Redis and its token, or neither", () => {
  const origin = { ORIGIN_URL: "http://o", MAX_UPLOAD_BYTES: 5000, IP_LIMIT_FACTOR: 7 };
  const redis = { UPSTASH_REDIS_REST_URL: "https://redis.example", UPSTASH_REDIS_REST_TOKEN: "t" };
  expect(readBindings({ ...origin, ...redis })).toEqual({
    settings: { ...origin, ...redis, ORIGIN_URL: ["http://o"] },
  });
  const { UPSTASH_REDIS_REST_URL, UPSTASH_REDIS_REST_TOKEN } = redis;
  expect(readBindings({ ...origin, UPSTASH_REDIS_REST_URL })).toEqual({
    problems: ["UPSTASH_REDIS_REST_TOKEN is missing"],
  });
  expect(readBindings({ ...origin, UPSTASH_REDIS_REST_TOKEN })).toEqual({
    problems: ["UPSTASH_REDIS_REST_URL is missing"],
  });
});
