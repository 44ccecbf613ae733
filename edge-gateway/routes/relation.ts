import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { friendObject, userObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { actionParam, idParam, pageParams, readParams, requiredIdParam, type Params } from "../params.ts";

/** Follows, and the three lists of people that come of them. */
export function relationRoutes({ origin }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();
  const noPage = { user_list: [], next_cursor: 0, has_more: false };

  addEndpoint(routes, "POST", "/relation/action", {}, async (c) => {
    const params = await readParams(c.req.raw);
    const request = {
      userId: requiredIdParam(params, "to_user_id"),
      follow: actionParam(params, ["follow", "unfollow"]) === "follow",
    };
    await origin.relations.setFollow(request, callFrom(c, params));
    return {};
  });

  addEndpoint(routes, "GET", "/relation/follow/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const { users, nextCursor, hasMore } = await origin.relations.listFollowing(listOf(params), callFrom(c, params));
    return { user_list: users.map(userObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  addEndpoint(routes, "GET", "/relation/follower/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const { users, nextCursor, hasMore } = await origin.relations.listFollowers(listOf(params), callFrom(c, params));
    return { user_list: users.map(userObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  addEndpoint(routes, "GET", "/relation/friend/list", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const { friends, nextCursor, hasMore } = await origin.relations.listFriends(listOf(params), callFrom(c, params));
    return { user_list: friends.map(friendObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  return routes;
}

const listOf = (params: Params) => ({ userId: idParam(params, "user_id"), ...pageParams(params) });
