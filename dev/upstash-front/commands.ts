import { createHash } from "node:crypto";

import type { Reply } from "./resp.ts";
import { RedisError } from "./resp.ts";

/** Waiting would hold up everybody on the one connection; these change or take over that connection. */
const refused = new Set(
  `BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF
   SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE MONITOR
   ASKING AUTH CLIENT DISCARD EXEC HELLO MULTI QUIT READONLY READWRITE RESET SELECT UNWATCH WATCH
   ACL BGREWRITEAOF BGSAVE CLUSTER COMMAND CONFIG DEBUG FAILOVER LASTSAVE LATENCY MIGRATE MODULE MOVE PFDEBUG PFSELFTEST PSYNC
   REPLCONF REPLICAOF RESTORE-ASKING ROLE SAVE SHUTDOWN SLAVEOF SLOWLOG SWAPDB SYNC`.split(/\s+/),
);

/** Why a command is not for this server, or null. */
export function refusal([name = "", ...args]: readonly string[]): RedisError | null {
  const command = name.toUpperCase();
  const waits = /^XREAD(GROUP)?$/.test(command) && args.some((argument) => argument.toUpperCase() === "BLOCK");
  if (!waits && !refused.has(command)) return null;
  return new RedisError(`ERR Command is not available: '${command}'`);
}

const lockFlag = /^#!lua flags=allow-key-locking[^\n]*/;
const mostAliases = 1_000;

export interface ScriptTranslator {
  /** The command as Redis 7.0 takes it. */
  translate(command: readonly string[]): readonly string[];
  /** What the client must see as the answer to its command. */
  translateReply(command: readonly string[], reply: Reply): Reply;
}

/**
 * Upstash knows a flag for scripts, `allow-key-locking`, that Redis refuses as unknown; it only lets Upstash run more at once.
 * Scripts lose it on their way, which gives them another SHA, so SHAs are translated too. A SHA that was first seen by an
 * earlier process is not known: EVALSHA then says NOSCRIPT, as after any restart, and clients send the text.
 */
export function createScriptTranslator(): ScriptTranslator {
  const aliases = new Map<string, string>();

  return {
    translate(command) {
      const [name = "", first = "", ...rest] = command;
      switch (name.toUpperCase()) {
        case "EVAL":
        case "EVAL_RO":
          return [name, withoutFlag(first), ...rest];
        case "EVALSHA":
        case "EVALSHA_RO":
          return [name, actual(first), ...rest];
        case "SCRIPT":
          if (first.toUpperCase() === "LOAD") return [name, first, ...rest.map(withoutFlag)];
          return [name, first, ...rest.map(actual)];
        default:
          return command;
      }
    },
    translateReply([name = "", verb = "", text = ""], reply) {
      const loaded = name.toUpperCase() === "SCRIPT" && verb.toUpperCase() === "LOAD" && reply instanceof Uint8Array;
      return loaded ? Buffer.from(sha1(text)) : reply;
    },
  };

  function withoutFlag(script: string): string {
    if (!lockFlag.test(script)) return script;
    // An empty line stays, so that errors name the right ones.
    const plain = script.replace(lockFlag, "");
    aliases.set(sha1(script), sha1(plain));
    const [oldest] = aliases.keys();
    if (aliases.size > mostAliases && oldest !== undefined) aliases.delete(oldest);
    return plain;
  }

  function actual(sha: string): string {
    return aliases.get(sha.toLowerCase()) ?? sha;
  }
}

function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}
