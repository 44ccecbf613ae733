import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";

import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { runStack, type RunningStack } from "./running-stack.ts";

setDefaultTimeout(120_000);

let flick: RunningStack;
beforeAll(async () => {
  flick = await runStack();
});
afterAll(() => flick.stop());

const username = "Seltsamer Nutzer 7319";
const password = "correct horse 5527";
const message = "nobody else's business 8813";

/** A secret as it may stand in a log: as itself, in a URL, in a form, in base64. */
function spellings(secret: string): string[] {
  const form = new URLSearchParams({ x: secret }).toString().slice(2);
  // The middle of it, whatever stands before it.
  const encoded = [0, 1, 2].map((offset) => btoa(" ".repeat(offset) + secret).slice(4, -4));
  return [secret, encodeURIComponent(secret), form, ...encoded];
}

test("no token, password, name or message is in anything that a program prints, whatever is asked", async () => {
  const { api, url } = flick;
  const { token } = await api.register(username, password);
  const other = await flick.signUp();
  await api.sendMessage(token, other.user_id, message);

  // What is refused before its body was read may end with its connection.
  const call = (path: string, init: RequestInit = {}) =>
    fetch(`${url}/douyin${path}`, { ...init, keepalive: false, signal: AbortSignal.timeout(20_000) })
      .then((answer) => answer.text())
      .catch(() => "");
  const secrets = { username, password, token, content: message, comment_text: message, signature: message };
  const query = new URLSearchParams(secrets).toString();
  const cut = token.slice(0, -5);
  const bodies: RequestInit[] = [
    { body: query, headers: { "content-type": "application/x-www-form-urlencoded" } },
    { body: JSON.stringify({ ...secrets, video_id: "x" }), headers: { "content-type": "application/json" } },
    { body: JSON.stringify(secrets).slice(0, -3), headers: { "content-type": "application/json" } },
    { body: query, headers: { "content-type": "multipart/form-data; boundary=b" } },
    { body: `--b\r\ncontent-disposition: form-data; name="token"\r\n\r\n${token}`, headers: multipart },
    { body: query, headers: { "content-type": `text/${cut}`, authorization: `Bearer ${token}` } },
    { body: "x".repeat(300_000) + query },
  ];
  const paths = [
    "/user/register/",
    "/user/login/",
    "/user/update/",
    "/publish/action/",
    "/publish/delete/",
    "/favorite/action/",
    "/comment/action/",
    "/relation/action/",
    "/message/action/",
  ];
  for (const path of paths) {
    for (const init of bodies) await call(path, { method: "POST", ...init });
    await call(`${path}?${query}&video_id=1&action_type=9`, { method: "POST" });
    await call(`${path}?${query}&video_id=999&action_type=1&to_user_id=999`, { method: "POST" });
  }
  for (const path of [
    "/feed/",
    "/user/",
    "/publish/list/",
    "/favorite/list/",
    "/message/chat/",
    "/nothing/",
    `/${token}`,
  ]) {
    await call(`${path}?${query}&user_id=x`);
    await call(`${path}?token=${cut}`);
    await call(`${path}?${query}&padding=${"x".repeat(9_000)}`);
    await call(path, { headers: { authorization: `Bearer ${cut}`, "x-request-id": token } });
  }
  // Uploads that are stored, that are refused when they are, and that cannot be stored.
  const upload = async (title: string) => {
    const form = new FormData();
    form.set("data", new File([clip], `${message}.mp4`));
    form.set("title", title);
    const headers = { authorization: `Bearer ${token}` };
    return JSON.parse(await call("/publish/action/", { method: "POST", body: form, headers })) as object;
  };
  expect(await upload(message)).toMatchObject({ status_code: 0 });
  expect(await upload(message.repeat(10))).toMatchObject({ status_code: Reason.INVALID_PARAMETER });
  process.kill(flick.pidOf("oss"), "SIGKILL");
  expect(await upload(message)).toMatchObject({ status_code: Reason.UNAVAILABLE });
  // Also when a part is away, which is when most is logged.
  process.kill(flick.pidOf("origin"), "SIGKILL");
  await call(`/user/login/?${query}`, { method: "POST" });
  await call(`/user/?${query}`, { headers: { authorization: `Bearer ${token}` } });
  await call(`/comment/action/?${query}&video_id=1&action_type=1`, { method: "POST" });

  const printed = flick.printed();
  for (const path of paths) expect(printed).toContain(`route=/douyin${path.slice(0, -1)}`);
  const [, claims = "", signature = ""] = token.split(".");
  for (const secret of [username, password, message].flatMap(spellings)) expect(printed).not.toContain(secret);
  expect(printed).not.toContain("x-oss-signature");
  for (const part of [claims, signature]) expect(printed).not.toContain(part.slice(0, 20));
});

/** Begins as an MP4 does. */
const clip = new Uint8Array(200_000);
clip.set(Buffer.from("\0\0\0\x20ftypisom", "latin1"));

const multipart = { "content-type": "multipart/form-data; boundary=b" };
