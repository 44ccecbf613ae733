import type { DescService } from "@bufbuild/protobuf";
import { serviceOfPath } from "@flick/proto/instances.ts";

import { inBackground } from "./background.ts";
import { createBalancedFetch, type BalancedFetch, type Fetch } from "./balanced-fetch.ts";
import { createBalancer } from "./balancer.ts";
import type { GatewayContext } from "./endpoint.ts";
import type { OriginNetwork } from "./env.ts";
import type { Log } from "./log.ts";
import type { Redis } from "./redis.ts";
import { createRegistry } from "./registry.ts";

export interface Discovery {
  fetch: BalancedFetch;
  /** Has what is due done in the background of a request that comes by: reading the list of origins, probing those that were left out. */
  keepUp(c: GatewayContext): void;
}

/** Finds the origins and spreads calls over them. */
export function createDiscovery(options: {
  redis: Redis | null;
  /** In place of those that announce themselves, for a service that nobody announces. */
  staticUrls: readonly string[];
  services: readonly DescService[];
  /** In place of the open Internet. */
  network: OriginNetwork | undefined;
  log: Log;
}): Discovery {
  const { redis, staticUrls, services, network, log } = options;
  const now = Date.now;
  const balancer = createBalancer({ now, random: Math.random });
  const registry = createRegistry({
    redis,
    staticUrls,
    services: services.map(({ typeName }) => serviceOfPath(`/${typeName}`)),
    update: (instances) => balancer.update(instances),
    log,
    now,
  });
  const send: Fetch = (url, init) => (network ? network.fetch(url, init) : fetch(url, init));
  const balanced = createBalancedFetch({ balancer, services, ready: () => registry.ready(), fetch: send, now });
  return {
    fetch: balanced,
    keepUp(c) {
      if (registry.isDue()) inBackground(c, registry.refresh());
      const out = balancer.dueProbes();
      if (out.length > 0) inBackground(c, balanced.probe(out));
    },
  };
}
