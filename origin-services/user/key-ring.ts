import { randomUUID } from "node:crypto";
import { chmod, link, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { maxKeys } from "@flick/platform/access-token/keys.ts";
import { exportJWK, generateKeyPair } from "jose";
import * as v from "valibot";

const storedKey = v.object({
  kty: v.literal("OKP"),
  crv: v.literal("Ed25519"),
  x: v.string(),
  /** The private part; gone once a successor has been signing for a while. */
  d: v.optional(v.string()),
  kid: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,64}$/)),
  alg: v.optional(v.literal("EdDSA"), "EdDSA"),
  use: v.optional(v.literal("sig"), "sig"),
  /** Milliseconds since 1970. */
  signs_from: v.optional(v.number(), 0),
});

/** A file holds the ring, or the one key that it was before its first rotation. */
const storedRing = v.pipe(
  v.union([
    v.object({ keys: v.array(storedKey) }),
    v.pipe(
      storedKey,
      v.transform((key) => ({ keys: [key] })),
    ),
  ]),
  v.check(({ keys }) => keys.some(({ d }) => d), "no key in it can sign"),
  v.transform(({ keys }) => keys.toSorted((one, other) => one.signs_from - other.signs_from)),
);

export type StoredKey = v.InferOutput<typeof storedKey>;

/** The keys of access tokens, the one that has signed for longest first. The last one that signs already is the one that signs. */
export type KeyRing = readonly StoredKey[];

export interface RingKey {
  kid: string;
  state: "next" | "signing" | "retired" | "expired";
  signsFrom: number;
  /** When the last token that it may have signed expires; null while it signs, or will. Milliseconds since 1970. */
  honouredUntil: number | null;
}

/** Every origin and every gateway knows a new key before the first token that it signs. */
export const publishedBeforeMs = 10_000;
/** Origins may take a moment to see that they should sign with another key, and their clocks may differ. */
const graceMs = 60_000;

/** @throws when the file cannot be read, or is no ring; the message quotes nothing of it. */
export async function readRing(path: string): Promise<KeyRing> {
  const text = await readFile(path, "utf8");
  try {
    return v.parse(storedRing, JSON.parse(text));
  } catch {
    throw new Error("it holds no private Ed25519 JSON Web Key with a kid, nor a set of them");
  }
}

/** What each key is for at a time. */
export function describeRing(ring: KeyRing, options: { now: number; tokenLifetimeMs: number }): RingKey[] {
  const { now, tokenLifetimeMs } = options;
  const signing = ring.findLast(({ d, signs_from }) => d && signs_from <= now) ?? ring.find(({ d }) => d);
  return ring.map((key, index) => {
    const { kid, signs_from: signsFrom } = key;
    if (key === signing) return { kid, state: "signing", signsFrom, honouredUntil: null };
    const successor = ring[index + 1];
    if (!successor || signsFrom > now) return { kid, state: "next", signsFrom, honouredUntil: null };
    const honouredUntil = successor.signs_from + graceMs + tokenLifetimeMs;
    return { kid, state: honouredUntil > now ? "retired" : "expired", signsFrom, honouredUntil };
  });
}

/** Makes one key that signs unless the file is there; of processes that start at once, one makes it and all use it. */
export async function createRing(path: string): Promise<void> {
  if (await Bun.file(path).exists()) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const { signs_from: _always, ...key } = await makeKey(0);
  const draft = await writeDraft(path, key);
  try {
    await link(draft, path);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  } finally {
    await rm(draft);
  }
}

/**
 * Adds a key that will sign in a moment, by when everybody knows it, and drops what is of no use any more: keys whose tokens have all
 * expired, and the private part of keys that have retired.
 *
 * @returns the new key's id.
 * @throws when the ring is full, or somebody else is changing it.
 */
export async function rotateRing(
  path: string,
  options: { tokenLifetimeMs: number; now?: number; signsAfterMs?: number },
): Promise<string> {
  const { tokenLifetimeMs, now = Date.now(), signsAfterMs = publishedBeforeMs } = options;
  const added = await makeKey(now + signsAfterMs);
  await changeRing(path, (ring) => {
    const states = new Map(describeRing(ring, { now, tokenLifetimeMs }).map(({ kid, state }) => [kid, state]));
    const kept = ring
      .filter(({ kid }) => states.get(kid) !== "expired")
      .map((key) => (states.get(key.kid) === "retired" ? withoutPrivatePart(key) : key));
    if (kept.length >= maxKeys) throw new Error(`a ring has at most ${maxKeys} keys; the oldest must expire first`);
    return [...kept, added];
  });
  return added.kid;
}

/**
 * Takes a key out at once, and with it every token that it has signed: for a key that somebody else has seen.
 *
 * @throws when there is no such key, or no other that can sign.
 */
export async function removeFromRing(path: string, kid: string, now = Date.now()): Promise<void> {
  await changeRing(path, (ring) => {
    const left = ring.filter((key) => key.kid !== kid);
    if (left.length === ring.length) throw new Error(`there is no key ${kid}`);
    if (left.some(({ d, signs_from }) => d && signs_from <= now)) return left;
    const next = left.find(({ d }) => d);
    if (!next) throw new Error("no other key can sign: rotate first");
    return left.with(left.indexOf(next), { ...next, signs_from: now });
  });
}

function withoutPrivatePart({ d: _private, ...key }: StoredKey): StoredKey {
  return key;
}

async function makeKey(signsFrom: number): Promise<StoredKey> {
  const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const jwk = { ...(await exportJWK(privateKey)), kid: randomUUID(), signs_from: signsFrom };
  return v.parse(storedKey, jwk);
}

const lockWaitMs = 5_000;

/** One at a time, by a lock file; readers see the old ring or the new one. */
async function changeRing(path: string, change: (ring: KeyRing) => StoredKey[]): Promise<void> {
  const lock = `${path}.lock`;
  for (const deadline = Date.now() + lockWaitMs; ;) {
    try {
      await (await open(lock, "wx", 0o600)).close();
      break;
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
      if (Date.now() > deadline) {
        throw new Error(`somebody else has been changing the keys for ${lockWaitMs} ms; if not, delete ${lock}`, {
          cause: error,
        });
      }
      await sleep(50);
    }
  }
  try {
    const draft = await writeDraft(path, { keys: change(await readRing(path)) });
    // Containers read the file as other users than the one who made it.
    await chmod(draft, (await stat(path)).mode & 0o777);
    await rename(draft, path);
  } finally {
    await rm(lock);
  }
}

async function writeDraft(path: string, content: object): Promise<string> {
  const draft = `${path}.${process.pid}.${randomUUID()}`;
  await writeFile(draft, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flush: true });
  return draft;
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
