import { afterAll, beforeAll, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { RedisClient } from "bun";

import { startRedis, type TestServer } from "../testing.ts";

setDefaultTimeout(60_000);

let dir: string;
let redis: TestServer;
let client: RedisClient;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "flick-config-"));
  redis = await startRedis({ dir: join(dir, "redis") });
  client = new RedisClient(redis.url);
});
afterAll(async () => {
  client.close();
  await redis.stop();
  await rm(dir, { recursive: true });
});
beforeEach(() => client.send("FLUSHALL", []));

/** Runs the command as its users do. */
async function config(words: string[], options: { input?: string; env?: Record<string, string> } = {}) {
  const env = { ...process.env, REDIS_URL: redis.url, ...options.env };
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...words], {
    env,
    stdin: new Blob([options.input ?? ""]),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 30_000,
  });
  const [out, complaint] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, out, complaint };
}

test("shows the defaults of every program while nothing is stored", async () => {
  const { code, out } = await config(["get"]);
  expect(code).toBe(0);
  for (const program of ["gateway", "origin", "media-worker"]) {
    expect(out).toContain(`${program}: nothing is stored, the defaults apply`);
  }
  expect(out).toMatch(/features\.comments +true$/m);
});

test("sets settings by their paths and shows what differs from the default", async () => {
  const words = ["features.comments=false", "limits.login.perIp.count=7", "limits.requests.perUser=off"];
  const set = await config(["set", "gateway", ...words, "--note", "a flood of spam"]);
  expect(set).toMatchObject({ code: 0, out: expect.stringContaining("gateway has version 1 now") });
  const { out } = await config(["get", "gateway"]);
  expect(out).toMatch(/^gateway: version 1, \S+ \S+ UTC, a flood of spam$/m);
  expect(out).toMatch(/features\.comments +false +\(default true\)$/m);
  expect(out).toMatch(/limits\.login\.perIp\.count +7 +\(default \d+\)$/m);
  expect(out).toMatch(/limits\.requests\.perUser +off +\(default normal\)$/m);
  await config(["set", "gateway", "limits.login.perIp.count=default"]);
  expect(JSON.parse((await config(["get", "gateway", "--json"])).out)).toEqual({
    features: { comments: false },
    limits: { requests: { perUser: "off" } },
  });
});

test("takes whole settings from standard input or a file", async () => {
  const jobs = { jobs: { paused: true } };
  expect(await config(["set", "media-worker", "-"], { input: JSON.stringify(jobs) })).toMatchObject({ code: 0 });
  expect(JSON.parse((await config(["get", "media-worker", "--json"])).out)).toEqual(jobs);
  const file = join(dir, "settings.json");
  await writeFile(file, JSON.stringify({ jobs: { concurrency: 2 } }));
  expect(await config(["set", "media-worker", file])).toMatchObject({ code: 0 });
  expect(JSON.parse((await config(["get", "media-worker", "--json"])).out)).toEqual({ jobs: { concurrency: 2 } });
});

const refused: [string, string[], string][] = [
  [
    "a value out of bounds",
    ["set", "origin", "cache.ttlPercent=0"],
    "cache.ttlPercent must be a whole number from 1 to 1000",
  ],
  [
    "a value of another type",
    ["set", "gateway", "features.comments=perhaps"],
    "features.comments must be true or false",
  ],
  ["a path that there is not", ["set", "gateway", "features.dreams=true"], "features.dreams is no setting"],
  ["a path through a prototype", ["set", "gateway", "constructor.name=x"], "constructor.name is no setting"],
  ["a section for a value", ["set", "gateway", "features=true"], "features must be an object of settings"],
  ["what is no change", ["set", "gateway", "a=1", "b"], '"b" is not of the form path=value'],
  ["a file that is not there", ["set", "gateway", "nowhere.json"], "nowhere.json cannot be read"],
  ["input that is no JSON", ["set", "gateway", "-"], "standard input cannot be read"],
  ["nothing to set", ["set", "gateway"], "What shall be set?"],
  ["an unknown program", ["set", "teapot", "a=1"], 'There is no program "teapot", only gateway, origin, media-worker'],
  ["an unknown option", ["get", "--yaml"], "There is no option --yaml"],
  ["an unknown command", ["steep"], "bun run config get"],
  ["a version that there is not", ["rollback", "gateway", "7"], 'gateway has no version "7"'],
];

test.each(refused)("refuses %s, says why and stores nothing", async (_name, words, complaint) => {
  const answer = await config(words);
  expect(answer.complaint).toContain(complaint);
  expect(answer.code).toBe(1);
  expect(await client.send("DBSIZE", [])).toBe(0);
});

test("names everything that is wrong at once", async () => {
  const { complaint } = await config(["set", "gateway", "features.comments=1", "limits.login.perIp.count=-1"]);
  expect(complaint).toContain("features.comments must be true or false");
  expect(complaint).toContain("limits.login.perIp.count must be a whole number from 0 to 1000000");
});

test("tells of the versions and goes back to one, as a new one", async () => {
  await config(["set", "gateway", "features.comments=false", "--note", "spam"]);
  await config(["set", "gateway", "features.comments=true"]);
  const history = (await config(["history", "gateway"])).out;
  expect(history).toMatch(/^version 2, [\s\S]+^version 1, \S+ \S+ UTC, spam$/m);
  expect(await config(["rollback", "gateway", "1"])).toMatchObject({ code: 0 });
  const { out } = await config(["get", "gateway"]);
  expect(out).toMatch(/^gateway: version 3, .*back to version 1$/m);
  expect(out).toMatch(/features\.comments +false/);
});

test("does not go back to a version that the program would refuse now", async () => {
  const old = { version: 1, time: 1, note: "", settings: { features: { dreams: true } } };
  await client.send("LPUSH", ["config::gateway::history", JSON.stringify(old)]);
  const { code, complaint } = await config(["rollback", "gateway", "1"]);
  expect(code).toBe(1);
  expect(complaint).toContain("features.dreams is no setting");
});

test("of many who set at once, each that says so has stored, and one after the other", async () => {
  const answers = await Promise.all(
    Array.from({ length: 6 }, (_, index) => config(["set", "gateway", `limits.login.perIp.count=${index + 1}`])),
  );
  const winners = answers.filter(({ code }) => code === 0);
  for (const loser of answers.filter(({ code }) => code !== 0)) {
    expect(loser).toMatchObject({ code: 1, complaint: expect.stringContaining("somebody else has stored version") });
  }
  expect(winners.length).toBeGreaterThan(0);
  const { out } = await config(["get", "gateway"]);
  expect(out).toContain(`gateway: version ${winners.length},`);
});

test("shows what is wrong with a stored configuration, and replaces it", async () => {
  await client.set("config::gateway", "rubbish");
  expect((await config(["get", "gateway"])).out).toContain("what is stored is no configuration");
  const bad = { version: 4, time: 1, note: "", settings: { features: { comments: 3 } } };
  await client.set("config::gateway", JSON.stringify(bad));
  expect((await config(["get", "gateway"])).out).toContain("features.comments must be true or false");
  expect(await config(["set", "gateway", "features.comments=false"])).toMatchObject({ code: 0 });
  expect((await config(["get", "gateway"])).out).toContain("gateway: version 5,");
});

test("finds the local stack's Redis by its secrets and port, and says what to do where there is none", async () => {
  const { port, password } = new URL(redis.url);
  const env = { REDIS_URL: "", FLICK_DATA_DIR: dir, FLICK_REDIS_PORT: port };
  expect(await config(["get"], { env })).toMatchObject({ code: 1, complaint: expect.stringContaining("npx bun dev") });
  await writeFile(join(dir, "secrets.json"), JSON.stringify({ redisPassword: password.padEnd(24, "x") }));
  expect(await config(["get"], { env })).toMatchObject({ code: 1, complaint: expect.stringContaining("Redis") });
});

test("says so when Redis cannot be reached", async () => {
  const { code, complaint } = await config(["get"], { env: { REDIS_URL: "redis://127.0.0.1:1" } });
  expect(code).toBe(1);
  expect(complaint).toContain("Redis cannot be used");
});
