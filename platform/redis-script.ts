import { createHash } from "node:crypto";

import { isRedisError, type RedisConnection } from "./redis-connection.ts";

const shaOf = new Map<string, string>();

/** Runs a script by its SHA, and sends its text only to a server that does not know it (yet, or any more). */
export async function runScript(
  connection: RedisConnection,
  script: string,
  keys: readonly string[],
  args: readonly (string | number)[],
  answerWithinMs?: number,
): Promise<unknown> {
  const sha = shaOf.get(script) ?? createHash("sha1").update(script).digest("hex");
  shaOf.set(script, sha);
  const rest = [String(keys.length), ...keys, ...args.map(String)];
  try {
    return await connection.send("EVALSHA", [sha, ...rest], answerWithinMs);
  } catch (error) {
    if (!isRedisError(error, "NOSCRIPT")) throw error;
    return await connection.send("EVAL", [script, ...rest], answerWithinMs);
  }
}
