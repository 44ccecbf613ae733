import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient, credentials, rawHead, sendRaw, signPut, startTestStore } from "./testing.ts";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "oss-store-main-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

function environment(dataDir: string, changes: Record<string, string> = {}) {
  return {
    PATH: process.env.PATH ?? "",
    OSS_STORE_PORT: "0",
    OSS_STORE_DIR: dataDir,
    OSS_BUCKET: credentials.bucket,
    OSS_REGION: credentials.region,
    OSS_ACCESS_KEY_ID: credentials.accessKeyId,
    OSS_ACCESS_KEY_SECRET: credentials.accessKeySecret,
    ...changes,
  };
}

function spawn(env: Record<string, string>) {
  return Bun.spawn([process.execPath, join(import.meta.dir, "main.ts")], { env, stdout: "pipe", stderr: "pipe" });
}

/** Runs the program until it says that it listens. */
async function start(dataDir: string) {
  const program = spawn(environment(dataDir));
  const lines = program.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "{}" } = await lines.read();
  const { message, url } = JSON.parse(value) as { message: string; url: string };
  expect(message).toBe("listening");
  return { program, url, port: Number(new URL(url).port), client: createClient(url) };
}

test("says where it listens, is healthy, and ends on SIGTERM and SIGINT", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const { program, url } = await start(join(folder, "signals"));
    expect(await (await fetch(`${url}/healthz`)).text()).toBe("ok\n");
    program.kill(signal);
    expect(await program.exited).toBe(0);
  }
});

test("a kill in the middle of writing loses no finished object and leaves no bytes of an unfinished one", async () => {
  const dataDir = join(folder, "killed");
  const first = await start(dataDir);
  await first.client.put("finished", Buffer.from("finished"));
  const head = rawHead(await signPut(first.url, "unfinished", ""), { "content-length": "1000" });
  const upload = sendRaw(first.port, [head, "some bytes"], "wait");
  while (readdirSync(join(dataDir, "files")).length < 2) await Bun.sleep(10);
  first.program.kill("SIGKILL");
  await Promise.all([first.program.exited, upload]);
  expect(readdirSync(join(dataDir, "files")).length).toBe(2);

  const second = await start(dataDir);
  expect(readdirSync(join(dataDir, "files")).length).toBe(1);
  expect(String((await second.client.get("finished")).content)).toBe("finished");
  const { objects } = await second.client.listV2({ "max-keys": 10 });
  expect(objects.map(({ name }) => name)).toEqual(["finished"]);
  second.program.kill();
  await second.program.exited;
});

test("names bad variables, and never their values", async () => {
  const program = spawn(
    environment(folder, { OSS_STORE_PORT: "high", OSS_ACCESS_KEY_SECRET: "short", OSS_BUCKET: "" }),
  );
  const [said, code] = [await new Response(program.stderr).text(), await program.exited];
  expect(code).toBe(1);
  for (const name of ["OSS_STORE_PORT", "OSS_ACCESS_KEY_SECRET", "OSS_BUCKET"]) expect(said).toContain(name);
  expect(said).not.toContain("short\n");
});

test("does not start on a folder or a port that another one uses", async () => {
  const store = startTestStore();
  for (const env of [
    environment(store.dataDir),
    environment(join(folder, "other"), { OSS_STORE_PORT: String(store.port) }),
  ]) {
    const program = spawn(env);
    expect(await program.exited).toBe(1);
    expect(await new Response(program.stdout).text()).toMatch(/Another object store works on|EADDRINUSE|in use/);
  }
  await store.remove();
});

test("a stop lets an upload at work end", async () => {
  const store = startTestStore();
  const head = rawHead(await signPut(store.url, "last", ""), { "content-length": "6", connection: "close" });
  const upload = sendRaw(store.port, [head, "las", "", "", "", "", "t!!"], "wait");
  await Bun.sleep(50);
  const stopped = store.stop();
  expect(await upload).toMatch(/^HTTP\/1.1 200 /);
  await stopped;
  const again = startTestStore({ dataDir: store.dataDir });
  expect(String((await again.client.get("last")).content)).toBe("last!!".slice(0, 6));
  await again.remove();
});
