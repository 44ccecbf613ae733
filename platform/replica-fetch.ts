import { lookup } from "node:dns/promises";

import { drainingHeader } from "@flick/proto/instances.ts";

import type { Fetch } from "./rpc/unary-transport.ts";

/** How long the addresses behind a name are taken for good. */
const freshMs = 1_000;
const maxNames = 100;
/** Of one call: an address that nobody answers at costs it time. */
const maxAttempts = 4;
/** Before all addresses are tried once more. */
const pauseMs = 100;

/**
 * A `fetch` for calls to a name behind which there may be several replicas, each with an address. Every call goes to one of them at
 * random. Where nobody has begun with a call (its connection was refused, or the process is stopping and says so) it goes to the next,
 * whatever it does; four attempts at most. A connection that breaks later is the caller's matter. With https the name itself is called,
 * because certificates know names.
 *
 * @param resolve the addresses of a name; from the system by default.
 */
export function createReplicaFetch(resolve = addressesOf): Fetch {
  const known = new Map<string, { addresses: string[]; until: number }>();

  async function addresses(name: string): Promise<string[]> {
    const now = performance.now();
    const found = known.get(name);
    if (found && found.until > now) return found.addresses;
    if (known.size >= maxNames) known.clear();
    const resolved = await resolve(name);
    known.set(name, { addresses: resolved, until: now + freshMs });
    return resolved;
  }

  return async (url, init) => {
    const target = new URL(url);
    const { host, hostname, protocol } = target;
    const replicas = protocol === "http:" ? await addresses(hostname) : [hostname];
    const first = Math.floor(Math.random() * replicas.length);
    const headers = new Headers(init.headers);
    headers.set("host", host);
    for (let attempt = 0; ; attempt++) {
      const last = attempt === maxAttempts - 1;
      target.hostname = replicas[(first + attempt) % replicas.length] ?? hostname;
      try {
        const response = await fetch(target, { ...init, headers });
        if (last || response.status !== 503 || !response.headers.has(drainingHeader)) return response;
        await response.body?.cancel();
      } catch (error) {
        if (last || !wasNotSent(error)) throw error;
        known.delete(hostname);
      }
      if ((attempt + 1) % replicas.length === 0) await Bun.sleep(pauseMs);
      init.signal?.throwIfAborted();
    }
  };
}

async function addressesOf(name: string): Promise<string[]> {
  const found = await lookup(name.replace(/^\[|\]$/g, ""), { all: true });
  return found.map(({ address, family }) => (family === 6 ? `[${address}]` : address));
}

const notSent = new Set(["ConnectionRefused", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH"]);

function wasNotSent(error: unknown): boolean {
  return error instanceof Error && "code" in error && notSent.has(String(error.code));
}
