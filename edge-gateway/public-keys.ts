import { publicKeysPath } from "@flick/proto/public-keys.ts";
import type { Hono } from "hono";
import { routePath } from "hono/route";

import type { AppDeps } from "./app.ts";
import type { GatewayEnv } from "./endpoint.ts";
import type { Handler, Serve } from "./serve.ts";

/** Well below the time for which a new key is published before it signs. */
const cachedSeconds = 5;

/** Serves the keys that tokens are signed with: a JSON Web Key Set (RFC 7517), and no envelope around it. */
export function addPublicKeys(
  app: Hono<GatewayEnv>,
  serve: Serve,
  { auth, limits }: Pick<AppDeps, "auth" | "limits">,
): void {
  const answer: Handler = async (c) => {
    c.set("route", routePath(c));
    await limits.request(c);
    const keys = await auth.publicKeys(c);
    c.header("cache-control", `public, max-age=${cachedSeconds}`);
    return c.body(keys, 200, { "content-type": "application/jwk-set+json" });
  };
  app.get(publicKeysPath, serve(answer));
}
