import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";

import * as v from "valibot";

import { Refusal } from "./refusal.ts";

const StoredSecrets = v.object({
  mysqlPassword: generated(24),
  redisPassword: generated(24),
  ossAccessKeyId: generated(8),
  ossAccessKeySecret: generated(24),
  upstashToken: generated(24),
  serviceTokenSecret: generated(32),
});

/** The passwords and keys of one local stack. */
export type Secrets = v.InferOutput<typeof StoredSecrets>;

/**
 * Reads the secrets of a data folder; makes the file (mode 0600) and whatever is missing in it.
 *
 * @throws {Refusal} when the file is there but cannot be used: new secrets would lock the servers' data away.
 */
export async function loadSecrets(path: string): Promise<Secrets> {
  const before = await readIfThere(path);
  const secrets = parse(before ?? "{}", path);
  const after = `${JSON.stringify(secrets, null, 2)}\n`;
  if (after !== before) {
    await writeFile(`${path}.new`, after, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
  return secrets;
}

function generated(bytes: number) {
  const missing = () => randomBytes(bytes).toString("hex");
  return v.optional(v.pipe(v.string(), v.minLength(bytes)), missing);
}

function parse(text: string, path: string): Secrets {
  try {
    return v.parse(StoredSecrets, JSON.parse(text));
  } catch {
    throw new Refusal(`${path} is damaged. Mend it, or forget all local data with: npx bun run dev:reset`);
  }
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}
