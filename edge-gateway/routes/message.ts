import { streamContentType } from "@flick/proto/stream.ts";
import { Hono } from "hono";

import type { AppDeps } from "../app.ts";
import { addEndpoint, type GatewayEnv } from "../endpoint.ts";
import { messageObject } from "../objects.ts";
import { callFrom } from "../origin.ts";
import { actionParam, idParam, pageParams, readParams, requiredIdParam, requiredParam, tokenFrom } from "../params.ts";

const maxPage = 500;

/** Chat: sending, reading by polling, and the live stream. */
export function messageRoutes({ origin }: AppDeps): Hono<GatewayEnv> {
  const routes = new Hono<GatewayEnv>();

  addEndpoint(routes, "POST", "/message/action", {}, async (c) => {
    const params = await readParams(c.req.raw);
    const toUserId = requiredIdParam(params, "to_user_id");
    actionParam(params, ["send"]);
    await origin.messages.sendMessage({ toUserId, content: requiredParam(params, "content") }, callFrom(c, params));
    return {};
  });

  const noPage = { message_list: [], next_cursor: 0, has_more: false };
  addEndpoint(routes, "GET", "/message/chat", noPage, async (c) => {
    const params = await readParams(c.req.raw);
    const after = idParam(params, "pre_msg_time");
    const { cursor, count } = pageParams(params, maxPage);
    const request = {
      peerId: requiredIdParam(params, "to_user_id"),
      // Pages of the whole conversation lead back in time by their cursor, those of what is new lead on.
      afterMs: after > 0n && cursor > after ? cursor : after,
      cursor,
      count,
    };
    const { messages, nextCursor, hasMore } = await origin.messages.listMessages(request, callFrom(c, params));
    return { message_list: messages.map(messageObject), next_cursor: Number(nextCursor), has_more: hasMore };
  });

  addEndpoint(routes, "GET", "/message/stream", {}, async (c) => {
    const params = await readParams(c.req.raw);
    const { headers, signal } = c.req.raw;
    const events = {
      "content-type": streamContentType,
      // A proxy that gathers what it passes on would hold messages back.
      "x-accel-buffering": "no",
    };
    const stream = {
      token: tokenFrom(headers, params),
      peerId: idParam(params, "to_user_id"),
      // A browser that reconnects by itself sends the URL that it was given first, and the header tells how far it came since.
      since: headers.get("last-event-id") || params.get("since"),
      requestId: c.get("requestId"),
      signal,
    };
    if (c.req.method === "HEAD") return c.newResponse(null, 200, events);
    return c.newResponse(await origin.stream(stream), 200, events);
  });

  return routes;
}
