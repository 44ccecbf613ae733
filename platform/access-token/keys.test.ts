import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";

import { reasonOf } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import type { KeySet } from "./keys.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";

import { readKeySet, remoteKeys } from "./keys.ts";
import type { Refreshed } from "../refreshed.ts";
import { createAuthority } from "./testing.ts";
import { createTokenVerifier, type TokenVerifier } from "./verify.ts";

const ours = await createAuthority("one");

let answer: () => Response | Promise<Response>;
let asked = 0;
let server: Bun.Server<undefined>;
let now = 0;
let keys: Refreshed<KeySet>;
let verifier: TokenVerifier;
beforeAll(() => {
  server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request) {
      if (new URL(request.url).pathname !== publicKeysPath) return new Response(null, { status: 404 });
      asked++;
      return answer();
    },
  });
});
afterAll(() => server.stop(true));
beforeEach(() => {
  asked = 0;
  now = Date.now();
  answer = () => new Response(ours.keySet);
  keys = remoteKeys({
    fetchKeys: (signal) => fetch(`${server.url.origin}${publicKeysPath}`, { signal }),
    onFailure: () => {},
    now: () => now,
  });
  verifier = createTokenVerifier({ keys, isRevoked: () => Promise.resolve(false), now: () => now });
});

const reason = (token: string) =>
  verifier.verify(token).then(
    () => "good",
    (error: unknown) => Reason[reasonOf(error)],
  );

test("a thousand tokens at a cold start cost one question", async () => {
  const tokens = await Promise.all(Array.from({ length: 1_000 }, () => ours.issue()));
  expect(new Set(await Promise.all(tokens.map(reason)))).toEqual(new Set(["good"]));
  expect(asked).toBe(1);
});

test("made-up key ids cost one question every two seconds", async () => {
  await reason(await ours.issue());
  const stranger = await createAuthority("stranger");
  const made = await Promise.all(Array.from({ length: 200 }, (_, index) => stranger.sign({}, { kid: `kid-${index}` })));
  expect(new Set(await Promise.all(made.map(reason)))).toEqual(new Set(["UNAUTHENTICATED"]));
  expect(asked).toBe(1);
  now += 2_000;
  expect(new Set(await Promise.all(made.map(reason)))).toEqual(new Set(["UNAUTHENTICATED"]));
  expect(asked).toBe(2);
});

test("when the keys were never there, tokens cannot be judged; when they are away, the last ones go on", async () => {
  const token = await ours.issue();
  for (const away of [
    () => new Response("gone", { status: 503 }),
    () => new Response("<html>"),
    () => Response.json({ keys: [] }),
    () => Response.json({ keys: [{ ...ours.publicJwk, crv: "X25519" }] }),
    () => new Response(ours.keySet + " ".repeat(40_000)),
  ]) {
    answer = away;
    expect(await reason(token)).toBe("UNAVAILABLE");
    now += 2_000;
  }
  answer = () => new Response(ours.keySet);
  expect(await reason(token)).toBe("good");
  answer = () => new Response("gone", { status: 503 });
  now += 120_000;
  expect(await reason(token)).toBe("good");
  now += 120_000;
  expect(await reason(await (await createAuthority("newer")).issue())).toBe("UNAVAILABLE");
});

test("a set with a private part in it gives public keys only", async () => {
  const both = JSON.stringify({ keys: [{ ...JSON.parse(ours.privateKeyFile), ...ours.publicJwk }] });
  const key = (await readKeySet(both)).get("one");
  expect(key?.type).toBe("public");
  expect(key?.usages).toEqual(["verify"]);
});
