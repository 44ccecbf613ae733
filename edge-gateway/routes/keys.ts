import { publicKeysPath } from "@flick/platform/access-token/keys.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";

/** Well below the time for which a new key is published before it signs. */
const cachedSeconds = 5;

export const keyEndpoints = [
  endpoint({
    method: "GET",
    path: publicKeysPath,
    tag: "Service",
    summary: "The keys that tokens are signed with",
    description: "A JSON Web Key Set (RFC 7517) of public Ed25519 keys, in place of the envelope.",
    access: "public",
    params: v.object({}),
    answer: v.object({}),
    async handle({ c }, { auth }) {
      const keys = await auth.publicKeys(c);
      c.header("cache-control", `public, max-age=${cachedSeconds}`);
      return c.newResponse(keys, 200, { "content-type": "application/jwk-set+json" });
    },
  }),
];
