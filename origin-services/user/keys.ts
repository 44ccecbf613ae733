import type { SigningKey } from "@flick/platform/access-token/access-token.ts";
import { fixedKeys, readKeySet, remoteKeys, type KeySet } from "@flick/platform/access-token/keys.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
import { EnvError } from "@flick/platform/env.ts";
import type { Log } from "@flick/platform/log.ts";
import { createRefreshed, type Refreshed } from "@flick/platform/refreshed.ts";
import { importJWK, type CryptoKey } from "jose";

import type { OriginEnv } from "../env.ts";
import { createRing, describeRing, readRing, type KeyRing } from "./key-ring.ts";

/** The keys of viewers' tokens. */
export interface Keys {
  /** To verify with. */
  publicKeys: Refreshed<KeySet>;
  /** Only where this process serves users. */
  signing: {
    key: () => Promise<SigningKey>;
    /** The public keys for everybody else, a JSON Web Key Set. */
    published: () => Promise<string>;
  } | null;
}

type KeysEnv = Pick<
  OriginEnv,
  "SERVICES" | "JWT_PRIVATE_KEY_FILE" | "JWT_CREATE_KEY" | "JWT_PUBLIC_KEYS" | "TOKEN_TTL_S" | "USER_SERVICE_URL"
>;

/**
 * Gets the keys from where the environment says they are: a file of private ones for the user service; for all others a set that is
 * given, or the one that the user service publishes.
 *
 * @throws {EnvError} when keys are missing or cannot be read.
 */
export async function loadKeys(env: KeysEnv, log: Log): Promise<Keys> {
  if (env.SERVICES.includes("user")) {
    const path = env.JWT_PRIVATE_KEY_FILE;
    if (!path) throw new EnvError(["JWT_PRIVATE_KEY_FILE: is missing (the user service signs with it)"]);
    return loadRing(path, env, log);
  }
  if (env.JWT_PUBLIC_KEYS) {
    const keys = await readKeySet(env.JWT_PUBLIC_KEYS).catch((error: unknown) => {
      throw new EnvError([`JWT_PUBLIC_KEYS: ${problem(error)}`]);
    });
    return { signing: null, publicKeys: fixedKeys(keys) };
  }
  const url = env.USER_SERVICE_URL;
  if (!url) throw new EnvError(["USER_SERVICE_URL: is missing (its keys verify tokens, unless JWT_PUBLIC_KEYS does)"]);
  const fetchKeys = (signal: AbortSignal) => fetch(`${url}${publicKeysPath}`, { redirect: "manual", signal });
  const onFailure = (error: unknown) => log.warn("the public keys cannot be had; the last ones go on", { error });
  return { signing: null, publicKeys: remoteKeys({ fetchKeys, onFailure }) };
}

/** For how long, in seconds, whoever asks may keep the answer: well below what a new key waits for before it signs. */
const publishedForS = 5;

/** Answers requests for {@link publicKeysPath}. */
export function answerKeys(published: () => Promise<string>): (request: Request) => Promise<Response> {
  return async ({ method }) => {
    if (method !== "GET" && method !== "HEAD") return new Response("a key set is a GET\n", { status: 405 });
    const headers = { "content-type": "application/jwk-set+json", "cache-control": `public, max-age=${publishedForS}` };
    return new Response(await published(), { headers });
  };
}

/** The ring as its file was a moment ago; `bun run keys` changes it while we run. */
interface LoadedRing {
  ring: KeyRing;
  privateKeys: ReadonlyMap<string, CryptoKey>;
  /** JSON Web Key Set of those whose tokens are honoured. */
  published: string;
  publicKeys: KeySet;
}

const rereadMs = 2_000;
const rereadAtMostMs = 500;

async function loadRing(path: string, env: KeysEnv, log: Log): Promise<Keys> {
  const tokenLifetimeMs = env.TOKEN_TTL_S * 1000;
  const describe = (ring: KeyRing) => describeRing(ring, { now: Date.now(), tokenLifetimeMs });
  try {
    if (env.JWT_CREATE_KEY === "true") await createRing(path);
    await load();
  } catch (error) {
    throw new EnvError([`JWT_PRIVATE_KEY_FILE: cannot be used (${problem(error)})`]);
  }
  const loaded = createRefreshed<LoadedRing>({
    load,
    freshMs: rereadMs,
    staleMs: rereadMs,
    retryMs: rereadAtMostMs,
    timeoutMs: rereadMs,
    onFailure: (error) => log.warn("JWT_PRIVATE_KEY_FILE cannot be read; its last keys go on", { error }),
  });

  return {
    publicKeys: {
      get: async () => (await loaded.get())?.publicKeys ?? null,
      renew: async () => (await loaded.renew())?.publicKeys ?? null,
    },
    signing: {
      async key() {
        const { ring, privateKeys } = await current();
        const kid = describe(ring).find(({ state }) => state === "signing")?.kid ?? "";
        const key = privateKeys.get(kid);
        if (!key) throw new Error("no key in JWT_PRIVATE_KEY_FILE signs");
        return { kid, key };
      },
      published: async () => (await current()).published,
    },
  };

  async function load(): Promise<LoadedRing> {
    const ring = await readRing(path);
    const expired = new Set(describe(ring).flatMap(({ kid, state }) => (state === "expired" ? [kid] : [])));
    const published = publicSet(ring.filter(({ kid }) => !expired.has(kid)));
    const [privateKeys, publicKeys] = await Promise.all([importPrivate(ring), readKeySet(published)]);
    return { ring, privateKeys, published, publicKeys };
  }

  async function current(): Promise<LoadedRing> {
    const value = await loaded.get();
    if (!value) throw new Error("JWT_PRIVATE_KEY_FILE cannot be read");
    return value;
  }
}

/** Named one by one, so that nothing private is ever among them. */
function publicSet(ring: KeyRing): string {
  return JSON.stringify({ keys: ring.map(({ kty, crv, x, kid, alg, use }) => ({ kty, crv, x, kid, alg, use })) });
}

async function importPrivate(ring: KeyRing): Promise<ReadonlyMap<string, CryptoKey>> {
  const imported = ring.flatMap(({ kty, crv, x, d, kid }) =>
    d ? [importJWK({ kty, crv, x, d }, "EdDSA").then((key) => [kid, key] as const)] : [],
  );
  return new Map(await Promise.all(imported));
}

const problem = (error: unknown) => (error instanceof Error ? error.message : "unreadable");
