import { createHash } from "node:crypto";

import { text, type Command, type Reply } from "./resp2.ts";

/** A command as Redis shall see it, and what its reply means to the caller. */
export interface Translation {
  command: Command;
  /** Applied to the reply; errors are left alone. */
  answer(reply: Reply): Reply;
}

/**
 * Makes Upstash's scripts run on Redis. Upstash knows a script flag of its own, `allow-key-locking`, with which Redis 7 refuses
 * the whole script. The flag is taken off, with its line where it is the only one. That changes the script's SHA-1; callers go
 * on using the one that they know, as long as it is among the last `maxAliases` used. Beyond that EVALSHA answers NOSCRIPT, and callers send EVAL.
 *
 * @returns translates one command.
 */
export function createScriptAliases(maxAliases = 1000): (command: Command) => Translation {
  /** From the caller's SHA-1 to Redis'; the ones used last are at the end. */
  const aliases = new Map<string, string>();

  function remember(callersSha: string, redisSha: string): void {
    aliases.delete(callersSha);
    aliases.set(callersSha, redisSha);
    const [oldest] = aliases.keys();
    if (aliases.size > maxAliases && oldest !== undefined) aliases.delete(oldest);
  }

  function resolve(part: string | Uint8Array): string {
    const sha = text(part).toLowerCase();
    const redisSha = aliases.get(sha);
    if (redisSha === undefined) return sha;
    remember(sha, redisSha);
    return redisSha;
  }

  return (command) => {
    const [name = "", first = "", second = "", ...rest] = command;
    switch (text(name).toUpperCase()) {
      case "EVAL":
      case "EVAL_RO": {
        const script = withoutFlag(text(first));
        if (script === null) break;
        remember(sha1(text(first)), sha1(script));
        return { command: [name, script, ...command.slice(2)], answer: same };
      }
      case "EVALSHA":
      case "EVALSHA_RO":
        if (command.length < 2) break;
        return { command: [name, resolve(first), ...command.slice(2)], answer: same };
      case "SCRIPT": {
        const subcommand = text(first).toUpperCase();
        if (subcommand === "EXISTS") {
          return { command: [name, first, ...command.slice(2).map(resolve)], answer: same };
        }
        const script = subcommand === "LOAD" ? withoutFlag(text(second)) : null;
        if (script === null) break;
        const callersSha = sha1(text(second));
        remember(callersSha, sha1(script));
        return { command: [name, first, script, ...rest], answer: () => Buffer.from(callersSha) };
      }
    }
    return { command, answer: same };
  };
}

const same = (reply: Reply) => reply;

/** The script for Redis, or null when it can stay as it is. The line's end stays, so that errors name the right lines. */
function withoutFlag(script: string): string | null {
  const [line, list = ""] = /^#!lua +flags=([\w,-]+)[ \t\r]*(?=\n|$)/.exec(script) ?? [];
  const flags = list.split(",");
  const others = flags.filter((flag) => flag !== "allow-key-locking");
  if (line === undefined || others.length === flags.length) return null;
  return (others.length > 0 ? `#!lua flags=${others.join(",")}` : "") + script.slice(line.length);
}

function sha1(script: string): string {
  return createHash("sha1").update(script).digest("hex");
}
