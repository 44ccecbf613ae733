import { RequestError } from "./errors.ts";
import { text, type Command } from "./resp2.ts";

/**
 * Refuses commands as Upstash does. Only what it documents is let through, and of that not what would change the state of the
 * connection that all requests share (SELECT, WATCH, SUBSCRIBE, …) or hold up the requests behind it (BLPOP, XREAD BLOCK, …).
 * The list: https://upstash.com/docs/redis/overall/rediscompatibility
 *
 * @throws {RequestError}
 */
export function checkAvailable(command: Command): void {
  const name = text(command[0] ?? "").toUpperCase();
  if (!available.has(name)) throw unavailable(name);
  if ((name === "XREAD" || name === "XREADGROUP") && blocks(command)) throw unavailable(`${name} BLOCK`);
  const subcommands = availableSubcommands[name];
  if (!subcommands) return;
  const subcommand = text(command[1] ?? "").toUpperCase();
  if (!subcommands.includes(subcommand)) throw unavailable(`${name} ${subcommand}`);
}

function unavailable(name: string): RequestError {
  const shown = name.length > maxShownName ? `${name.slice(0, maxShownName)}…` : name;
  const see = "See https://upstash.com/docs/redis/overall/rediscompatibility for details";
  return new RequestError(400, `ERR Command is not available: '${shown}'. ${see}`);
}

const maxShownName = 64;

/** Whether XREAD or XREADGROUP would wait: what comes after STREAMS are keys, whatever their names. */
function blocks(command: Command): boolean {
  for (let at = 1; at < command.length; at++) {
    const option = text(command[at] ?? "").toUpperCase();
    if (option === "STREAMS") return false;
    if (option === "BLOCK") return true;
    at += { GROUP: 2, COUNT: 1 }[option] ?? 0;
  }
  return false;
}

/** The others would kill what somebody else runs, or debug. */
const availableSubcommands: Record<string, readonly string[] | undefined> = {
  SCRIPT: ["EXISTS", "FLUSH", "LOAD"],
  FUNCTION: ["DELETE", "FLUSH", "LIST", "LOAD"],
};

const available = new Set(
  // Strings, bitmaps, HyperLogLog.
  (
    "APPEND DECR DECRBY GET GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT LCS MGET MSET MSETNX PSETEX SET SETEX SETNX " +
    "SETRANGE STRLEN SUBSTR BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS GETBIT SETBIT PFADD PFCOUNT PFMERGE " +
    // Hashes and lists.
    "HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN HSET HSETNX HSTRLEN HVALS " +
    "LINDEX LINSERT LLEN LMOVE LMPOP LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX " +
    // Sets and sorted sets.
    "SADD SCARD SDIFF SDIFFSTORE SINTER SINTERCARD SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP SRANDMEMBER SREM " +
    "SSCAN SUNION SUNIONSTORE ZADD ZCARD ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP " +
    "ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX " +
    "ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE " +
    // Places and streams.
    "GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE " +
    "XACK XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM " +
    // Keys.
    "COPY DEL DUMP EXISTS EXPIRE EXPIREAT EXPIRETIME KEYS OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RANDOMKEY RENAME " +
    "RENAMENX RESTORE SCAN SORT SORT_RO TOUCH TTL TYPE UNLINK " +
    // Scripts, publishing, the server.
    "EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO FUNCTION SCRIPT PUBLISH SPUBLISH PUBSUB DBSIZE ECHO FLUSHALL FLUSHDB INFO PING TIME"
  ).split(" "),
);
