import { randomUUID } from "node:crypto";

import type { Log } from "@flick/platform/log.ts";
import { createRedisConnection } from "@flick/platform/redis-connection.ts";
import { runScript } from "@flick/platform/redis-script.ts";
import { instancesKey, maxInstances, type Announcement } from "@flick/proto/instances.ts";

/** A lease lasts for three renewals and a moment, so that one may be lost on its way. */
const leaseTimes = { renewMs: 3_000, leaseMs: 10_000 };
const redisTimeoutMs = 1_000;

/** The lease by which gateways find this process; proto/instances.ts describes how it lies in Redis. */
export interface Lease {
  /** Gives the place up. Gateways hear of it within their cache time. */
  withdraw(): Promise<void>;
}

/**
 * Announces this process to the gateways, and goes on doing so: a renewal that fails is made good by the next one. Another process with the same
 * `NODE_ID` keeps this one out, because both would make the same ids; that is logged, and ends when the other is gone.
 *
 * @param options.url where gateways reach this process.
 * @param options.describe is asked at every renewal.
 */
export function announce(options: {
  redisUrl: string;
  url: string;
  nodeId: number;
  describe: () => Announcement;
  log: Log;
  times?: typeof leaseTimes;
}): Lease {
  const { url, nodeId, describe, log, times = leaseTimes } = options;
  const connection = createRedisConnection({ url: options.redisUrl, log, timeoutMs: redisTimeoutMs });
  const id = randomUUID();
  let state = "";
  let withdrawn = false;

  async function renew(): Promise<void> {
    const lease = [url, id, nodeId, JSON.stringify(describe()), times.leaseMs, maxInstances] as const;
    const answer = String(await runScript(connection, renewScript, [instancesKey], lease).catch(() => "no answer"));
    if (answer === state) return;
    state = answer;
    if (answer === "ok") log.info("announced to the gateways", { url });
    else if (answer === "full") log.error(`not announced: there are ${maxInstances} origins already`, { url });
    else if (answer === "no answer")
      log.warn("the lease by which gateways find this origin cannot be renewed", { url });
    else log.error(`not announced: NODE_ID ${nodeId} is that of another origin`, { url, other: answer });
  }

  let renewing = renew();
  const timer = setInterval(
    () => void (renewing = renewing.then(() => (withdrawn ? undefined : renew()))),
    times.renewMs,
  );

  return {
    async withdraw() {
      withdrawn = true;
      clearInterval(timer);
      await renewing;
      await runScript(connection, withdrawScript, [instancesKey], [url, id]).catch((error: unknown) => {
        log.warn("the lease could not be given up; it ends by itself", { url, error });
      });
      connection.close();
    },
  };
}

/** Returns `ok`, `full`, or the address of another process with the same node. */
const renewScript = `
-- KEYS: the hash. ARGV: this process' address, id, node and JSON, milliseconds of a lease, most processes.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entries = redis.call('HGETALL', KEYS[1])
local others, rival = 0, nil
for i = 1, #entries, 2 do
  local ends, node = string.match(entries[i + 1], '^(%d+) %S+ (%d+) ')
  if not ends or tonumber(ends) <= now then
    redis.call('HDEL', KEYS[1], entries[i])
  elseif entries[i] ~= ARGV[1] then
    others = others + 1
    if node == ARGV[3] then rival = entries[i] end
  end
end
if rival then return rival end
if others >= tonumber(ARGV[6]) then return 'full' end
local value = string.format('%.0f %s %s %s', now + ARGV[5], ARGV[2], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], value)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'ok'
`;

/** A process that was started since at the same address keeps its place. */
const withdrawScript = `
-- KEYS: the hash. ARGV: this process' address and id.
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value and string.match(value, '^%d+ (%S+) ') == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 'ok'
`;
