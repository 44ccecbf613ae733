import type { AccessToken } from "@flick/platform/access-token/access-token.ts";
import { remoteKeys, writeKeySet } from "@flick/platform/access-token/keys.ts";
import { createTokenVerifier } from "@flick/platform/access-token/verify.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";

import { inBackground } from "./background.ts";
import type { GatewayContext } from "./endpoint.ts";
import type { Log } from "./log.ts";
import type { Redis } from "./redis.ts";
import { createEdgeRevocations } from "./revocations.ts";
import type { Soon } from "./soon.ts";

/** Knows viewers by their tokens. */
export interface Auth {
  /**
   * Verifies a request's token and puts its user into the context as `viewer`.
   *
   * @throws UNAUTHENTICATED when it is not valid; UNAVAILABLE when that cannot be told, because the keys cannot be had.
   */
  identify(c: GatewayContext, token: string): Soon<void>;
  /**
   * The public keys as a JSON Web Key Set.
   *
   * @throws UNAVAILABLE when they cannot be had.
   */
  publicKeys(c: GatewayContext): Promise<string>;
}

/**
 * Verifies tokens here, with the public keys of the user service, so that a bad one costs the origin nothing. The origin verifies them
 * again and has the last word: it believes nobody, us included.
 */
export function createAuth(options: {
  fetchKeys: (signal: AbortSignal) => Promise<Response>;
  redis: Redis | null;
  log: Log;
}): Auth {
  const { fetchKeys, redis, log } = options;
  const warn = (message: string) => (error: unknown) =>
    log.warn(message, { problem: error instanceof Error ? error.message : String(error) });
  const keys = remoteKeys({ fetchKeys, onFailure: warn("the public keys cannot be had; the last ones go on") });
  const revoked = createEdgeRevocations(redis, warn("revoked tokens cannot be read; the origin refuses them"));
  const tokens = createTokenVerifier({
    keys,
    isRevoked: (token: AccessToken, _checkedAt, keepAlive) => revoked(token, keepAlive),
  });
  return {
    async identify(c, token) {
      const { userId } = await tokens.verify(token, (work) => inBackground(c, work));
      c.set("viewer", userId);
    },
    async publicKeys(c) {
      const keySet = await keys.get((work) => inBackground(c, work));
      if (!keySet) throw flickError(Reason.UNAVAILABLE, "The keys cannot be had at the moment: try again.");
      return writeKeySet(keySet);
    },
  };
}
