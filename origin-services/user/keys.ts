import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

import { EnvError } from "@flick/platform/env.ts";
import { exportJWK, generateKeyPair, importJWK, type CryptoKey, type JSONWebKeySet, type JWK } from "jose";

import type { OriginEnv } from "../env.ts";

export interface SigningKey {
  kid: string;
  key: CryptoKey;
}

/**
 * The keys of viewers' tokens: the private one where this process serves users, and the public ones to verify with everywhere.
 *
 * @throws {EnvError} when a key is missing or is no Ed25519 key.
 */
export async function loadKeys(
  env: Pick<OriginEnv, "SERVICES" | "JWT_PRIVATE_KEY_FILE" | "JWT_CREATE_KEY" | "JWT_PUBLIC_KEYS">,
): Promise<{ privateKey: SigningKey | null; publicKeys: JSONWebKeySet }> {
  if (env.SERVICES.includes("user")) {
    const path = env.JWT_PRIVATE_KEY_FILE;
    if (!path) throw new EnvError(["JWT_PRIVATE_KEY_FILE: is missing (the user service signs with it)"]);
    if (env.JWT_CREATE_KEY === "true") await createKeyFile(path);
    return readKeyFile(path);
  }
  if (!env.JWT_PUBLIC_KEYS) throw new EnvError(["JWT_PUBLIC_KEYS: is missing (tokens are verified with it)"]);
  const publicKeys = parseKeys(env.JWT_PUBLIC_KEYS);
  if (!publicKeys) throw new EnvError(["JWT_PUBLIC_KEYS: must be a JSON Web Key Set"]);
  return { privateKey: null, publicKeys };
}

/** Makes an Ed25519 key unless the file is there; of processes that start at once, one makes it and all use it. */
async function createKeyFile(path: string): Promise<void> {
  if (await Bun.file(path).exists()) return;
  const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const jwk: JWK = { ...(await exportJWK(privateKey)), alg: "EdDSA", use: "sig", kid: randomUUID() };
  const draft = `${path}.${process.pid}`;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(draft, JSON.stringify(jwk), { mode: 0o600, flush: true });
  try {
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(draft);
  }
}

async function readKeyFile(path: string): Promise<{ privateKey: SigningKey; publicKeys: JSONWebKeySet }> {
  try {
    const jwk = JSON.parse(await readFile(path, "utf8")) as JWK;
    const { d, ...publicKey } = jwk;
    if (!d || !jwk.kid || jwk.crv !== "Ed25519") throw new Error("it is no private Ed25519 JSON Web Key with a kid");
    const key = (await importJWK(jwk, "EdDSA")) as CryptoKey;
    return { privateKey: { kid: jwk.kid, key }, publicKeys: { keys: [publicKey] } };
  } catch (error) {
    throw new EnvError([
      `JWT_PRIVATE_KEY_FILE: cannot be used (${error instanceof Error ? error.message : "unreadable"})`,
    ]);
  }
}

function parseKeys(text: string): JSONWebKeySet | null {
  try {
    const value = JSON.parse(text) as Partial<JSONWebKeySet>;
    return Array.isArray(value.keys) ? { keys: value.keys } : null;
  } catch {
    return null;
  }
}
