import { exportJWK, importJWK, type CryptoKey } from "jose";
import * as v from "valibot";

import { createRefreshed, type Refreshed } from "../refreshed.ts";

/** The public keys of access tokens, by their `kid`. */
export type KeySet = ReadonlyMap<string, CryptoKey>;

/** A key set may hold no more; signing keys are rotated one at a time. */
export const maxKeys = 20;
const maxTextLength = 32 * 1024;

const publicKey = v.object({
  kty: v.literal("OKP"),
  crv: v.literal("Ed25519"),
  x: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{43}$/)),
  kid: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,64}$/)),
  alg: v.optional(v.literal("EdDSA")),
  use: v.optional(v.literal("sig")),
});

const storedSet = v.object({ keys: v.pipe(v.array(publicKey), v.minLength(1), v.maxLength(maxKeys)) });

/**
 * Reads a JSON Web Key Set (RFC 7517) of Ed25519 keys.
 *
 * @throws {TypeError} for any other text, or more than 20 keys.
 */
export async function readKeySet(text: string): Promise<KeySet> {
  const imported = parse(text).map(
    async ({ kty, crv, x, kid }) => [kid, await importJWK({ kty, crv, x }, "EdDSA")] as const,
  );
  return new Map(await Promise.all(imported));
}

/** The set as text, in the form that {@link readKeySet} reads. */
export async function writeKeySet(keySet: KeySet): Promise<string> {
  const jwks = Array.from(keySet, async ([kid, key]) => ({ ...(await exportJWK(key)), kid, alg: "EdDSA", use: "sig" }));
  return JSON.stringify({ keys: await Promise.all(jwks) });
}

/** Keys that never change while the program runs. */
export function fixedKeys(keys: KeySet): Refreshed<KeySet> {
  const given = () => Promise.resolve(keys);
  return { get: given, renew: given };
}

/** How old a removed key's good name gets: it is asked for again behind a request's back, and before its answer. */
const freshMs = 15_000;
const staleMs = 60_000;
/** Whatever kids tokens name, the keys are asked for no more often. */
const retryMs = 2_000;
const timeoutMs = 2_000;

/**
 * The keys that the user service publishes. They are asked for again when a token names one that is not among them, at most every 2 s;
 * while they cannot be had, the last ones go on.
 *
 * @param fetchKeys gets the key set.
 */
export function remoteKeys(options: {
  fetchKeys: (signal: AbortSignal) => Promise<Response>;
  onFailure: (error: unknown) => void;
  now?: () => number;
}): Refreshed<KeySet> {
  const { fetchKeys, ...rest } = options;
  return createRefreshed({
    ...rest,
    freshMs,
    staleMs,
    retryMs,
    timeoutMs,
    async load(signal) {
      const response = await fetchKeys(signal);
      const text = await response.text();
      if (response.status !== 200) throw new Error(`the public keys were answered with HTTP ${response.status}`);
      return readKeySet(text);
    },
  });
}

function parse(text: string): v.InferOutput<typeof storedSet>["keys"] {
  if (text.length > maxTextLength) throw new TypeError(`a key set has at most ${maxTextLength} characters`);
  try {
    return v.parse(storedSet, JSON.parse(text)).keys;
  } catch {
    throw new TypeError(`this is no JSON Web Key Set of 1 to ${maxKeys} public Ed25519 keys`);
  }
}
