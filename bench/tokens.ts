/**
 * What a viewer's token costs at the edge:
 *
 *     bun bench/tokens.ts [seconds]
 *
 * The gateway in workerd answers a request with a bad parameter, which costs the origin nothing, at 32 in flight, three ways one after the other:
 * `no token`, the baseline; `known token`, one that the isolate has verified before; and `new token`, another one each time. What workerd's processor
 * time for a request is beyond the baseline's is what the token took. Each run takes `seconds` (default 3). Linux only.
 */
import { readdirSync, readFileSync } from "node:fs";

import { startGateway } from "@flick/dev/gateway.ts";
import { publicKeysPath } from "@flick/proto/public-keys.ts";
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
  // workerd compiles what it finds hot.
  await run(() => null);
  const baseline = await run(() => null);
  print("no token", baseline);
  print("known token", await run(() => known), baseline);
  print("new token", await run((n) => tokens[n] ?? exhausted()), baseline);
} finally {
  await gateway.stop();
  await origin.stop(true);
}

async function run(tokenOf: (n: number) => string | null): Promise<Run> {
  let requests = 0;
  const before = gatewayCpuUs();
  const measured = await measure({
    inFlight,
    seconds,
    async act(n) {
      const token = tokenOf(n);
      const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
      const response = await fetch(`${gateway.url}/douyin/comment/list/?video_id=x`, { headers });
      const { status_code: code } = (await response.json()) as { status_code: number };
      if (code !== 10_001) throw new Error(`a request came to ${code}`);
      requests++;
    },
  });
  return { ...measured, cpuUs: (gatewayCpuUs() - before) / requests };
}

/** Processor time that our child processes, of which workerd is the only one, have taken so far, in microseconds (`man 5 proc`). */
function gatewayCpuUs(): number {
  const stats = readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const text = readFileSync(`/proc/${pid}/stat`, "utf8");
      // After the name, which may hold anything: state, parent, and from the 14th field on user and system time in 1/100 s.
      return [{ pid: Number(pid), fields: text.slice(text.lastIndexOf(")") + 2).split(" ") }];
    } catch {
      return [];
    }
  });
  const ours = new Set([process.pid]);
  for (const { pid, fields } of stats.toSorted((one, other) => one.pid - other.pid)) {
    if (ours.has(Number(fields[1]))) ours.add(pid);
  }
  const children = stats.filter(({ pid }) => pid !== process.pid && ours.has(pid));
  return children.reduce((sum, { fields }) => sum + (Number(fields[11]) + Number(fields[12])) * 10_000, 0);
}

function exhausted(): never {
  throw new Error(`${newTokens} tokens were too few`);
}

function print(name: string, { rate, p50, cpuUs }: Run, baseline?: Run): void {
  const more = baseline ? `, ${(cpuUs - baseline.cpuUs).toFixed(0)} µs more than no token` : "";
  const line = `${name.padEnd(12)} ${rate.toFixed(0).padStart(6)}/s  p50 ${p50.toFixed(1)} ms  ${cpuUs.toFixed(0)} µs of processor${more}`;
  process.stdout.write(`${line}\n`);
}

interface Run extends Measured {
  /** Of one request. */
  cpuUs: number;
}
