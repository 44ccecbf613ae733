/**
 * What a viewer's token costs at the edge:
 *
 *     bun bench/tokens.ts [seconds]
 *
 * The gateway in workerd answers a request with a bad parameter, which costs the origin nothing, at 32 in flight, three ways one after the other:
 * `no token`, the baseline; `known token`, one that the isolate has verified before; and `new token`, another one each time. A request's time
 * beyond the baseline's is what the token took. Each run takes `seconds` (default 3).
 */
import { startGateway } from "@flick/dev/gateway.ts";
import { publicKeysPath } from "@flick/platform/access-token/keys.ts";
import { createAuthority } from "@flick/platform/access-token/testing.ts";

import { measure, type Measured } from "./load.ts";

const inFlight = 32;
/** More than one run can use. */
const newTokens = 40_000;

const seconds = Number(process.argv[2] ?? 3);
const authority = await createAuthority("bench");
const origin = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: ({ url }) => new Response(authority.keySet, { status: new URL(url).pathname === publicKeysPath ? 200 : 404 }),
});
const gateway = await startGateway({ vars: { ORIGIN_URL: origin.url.origin }, log: () => {} });
try {
  const known = await authority.issue();
  const tokens = await Promise.all(Array.from({ length: newTokens }, () => authority.issue()));
  const baseline = await run(() => null);
  print("no token", baseline);
  print("known token", await run(() => known), baseline);
  print("new token", await run((n) => tokens[n] ?? exhausted()), baseline);
} finally {
  await gateway.stop();
  await origin.stop(true);
}

function run(tokenOf: (n: number) => string | null): Promise<Measured> {
  return measure({
    inFlight,
    seconds,
    async act(n) {
      const token = tokenOf(n);
      const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
      const response = await fetch(`${gateway.url}/douyin/comment/list/?video_id=x`, { headers });
      const { status_code: code } = (await response.json()) as { status_code: number };
      if (code !== 10_001) throw new Error(`a request came to ${code}`);
    },
  });
}

function exhausted(): never {
  throw new Error(`${newTokens} tokens were too few`);
}

function print(name: string, { rate, p50, p99 }: Measured, baseline?: Measured): void {
  const more = baseline ? `  ${(1e6 / rate - 1e6 / baseline.rate).toFixed(0)} µs more than no token` : "";
  const line = `${name.padEnd(12)} ${rate.toFixed(0).padStart(6)}/s  p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms${more}`;
  process.stdout.write(`${line}\n`);
}
