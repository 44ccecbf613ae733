import { expect, test } from "bun:test";
import { join } from "node:path";

import { testServers } from "../testing.ts";
import { createClient, token } from "./testing.ts";

const { redisUrl } = await testServers();

function spawn(changes: Record<string, string> = {}) {
  const env = {
    PATH: process.env.PATH ?? "",
    UPSTASH_FRONT_PORT: "0",
    UPSTASH_REDIS_REST_TOKEN: token,
    REDIS_URL: redisUrl,
    ...changes,
  };
  return Bun.spawn([process.execPath, join(import.meta.dir, "main.ts")], { env, stdout: "pipe", stderr: "pipe" });
}

/** Runs the program until it says that it listens. */
async function start() {
  const program = spawn();
  const lines = program.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "{}" } = await lines.read();
  const { message, url } = JSON.parse(value) as { message: string; url: string };
  expect(message).toBe("listening");
  return { program, url };
}

test("says where it listens, serves Redis, and ends on SIGTERM and SIGINT", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { program, url } = await start();
    expect(await createClient(url).ping()).toBe("PONG");
    program.kill(signal);
    expect(await program.exited).toBe(0);
  }
});

test("names bad variables, and never their values", async () => {
  const program = spawn({ UPSTASH_FRONT_PORT: "high", UPSTASH_REDIS_REST_TOKEN: "short", REDIS_URL: "http://hidden" });
  const [said, code] = [await new Response(program.stderr).text(), await program.exited];
  expect(code).toBe(1);
  for (const name of ["UPSTASH_FRONT_PORT", "UPSTASH_REDIS_REST_TOKEN", "REDIS_URL"]) expect(said).toContain(name);
  for (const value of ["short", "hidden"]) expect(said).not.toContain(value);
});

test("does not start on a port that another program uses", async () => {
  const { program, url } = await start();
  const second = spawn({ UPSTASH_FRONT_PORT: new URL(url).port });
  expect(await second.exited).toBe(1);
  expect(await new Response(second.stdout).text()).toMatch(/EADDRINUSE|in use/);
  program.kill();
  await program.exited;
});
