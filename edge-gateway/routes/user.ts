import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { userObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { idParam, mediaType, readParams, requiredParam, type Params } from "../params.ts";
import { profileUpload, uploadFrom } from "../upload.ts";

/** Passwords are hashed one after another where they queue up, so these calls may take longer than a read. */
const hashingTimeoutMs = 20_000;

/** Accounts and profiles. */
export function userRoutes({ origin, maxUploadBytes }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();
  const noAccount = { user_id: 0, token: "" };

  addEndpoint(routes, "POST", "/user/register", noAccount, async (c) => {
    const credentials = readCredentials(await readParams(c.req.raw));
    const { userId, token } = await origin.users.register(credentials, { ...callFrom(c), timeoutMs: hashingTimeoutMs });
    return { user_id: Number(userId), token };
  });

  addEndpoint(routes, "POST", "/user/login", noAccount, async (c) => {
    const credentials = readCredentials(await readParams(c.req.raw));
    const { userId, token } = await origin.users.login(credentials, { ...callFrom(c), timeoutMs: hashingTimeoutMs });
    return { user_id: Number(userId), token };
  });

  addEndpoint(routes, "GET", "/user", { user: userObject() }, async (c) => {
    const params = await readParams(c.req.raw);
    const { user } = await origin.users.getUser({ userId: idParam(params, "user_id") }, callFrom(c, params));
    return { user: userObject(user) };
  });

  // Pictures need multipart, which streams through; a signature may come in any of the usual ways.
  addEndpoint(routes, "POST", "/user/update", { user: userObject() }, async (c) => {
    if (mediaType(c.req.header("content-type") ?? "") === "multipart/form-data") {
      const { user } = await origin.uploadProfile(uploadFrom(c, profileUpload, maxUploadBytes));
      return { user: userObject(user) };
    }
    const params = await readParams(c.req.raw, { mayBeEmpty: "signature" });
    const signature = params.get("signature");
    const request = signature === undefined ? {} : { signature };
    const { user } = await origin.users.updateUser(request, callFrom(c, params));
    return { user: userObject(user) };
  });

  return routes;
}

/** How long either may be is for the user service to say. */
function readCredentials(params: Params): { username: string; password: string } {
  return { username: requiredParam(params, "username"), password: requiredParam(params, "password") };
}
