import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { streamContentType, streamPath } from "@flick/proto/stream.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { requireFeature } from "../features.ts";
import { pageFields } from "../fields.ts";
import { messageObject, messageSchema } from "../objects.ts";
import { actionParam, idParam, pageParams, requiredIdParam, textParam } from "../param-schemas.ts";

const somebody = 7_312_345_678_900_002;

/** Chat: sending, reading by polling, and the live stream. */
export const messageEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/message/action",
    tag: "Messages",
    summary: "Send a message",
    description: "To anybody but oneself; they need not be friends.",
    access: "required",
    params: v.object({
      to_user_id: requiredIdParam("Who receives it.", somebody),
      action_type: actionParam("send"),
      content: textParam("The text.", "see you at eight", { maxLength: 1000 }),
    }),
    limit: "message",
    answer: v.object({}),
    errors: [Reason.USER_NOT_FOUND, Reason.SELF_MESSAGE, Reason.TURNED_OFF],
    async handle({ params: { to_user_id: toUserId, content }, call }, { origin, config }) {
      requireFeature(config, "messages");
      await origin.messages.sendMessage({ toUserId, content }, call);
      return {};
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/message/chat",
    tag: "Messages",
    summary: "Read a conversation",
    description:
      "Oldest first. Without `pre_msg_time` the whole conversation, its newest page first; with it only what the *other* side sent after that moment.",
    access: "required",
    params: v.object({
      to_user_id: requiredIdParam("The other side.", somebody),
      pre_msg_time: idParam("`create_time` of the last message that the caller has; 0 for none.", 1_790_000_000_123),
      ...pageParams(500),
    }),
    answer: v.object({ message_list: v.array(messageSchema), ...pageFields }),
    async handle({ params, call }, { origin }) {
      const { to_user_id: peerId, pre_msg_time: after, cursor, count } = params;
      // Pages of the whole conversation lead back in time by their cursor, those of what is new lead on.
      const afterMs = after > 0n && cursor > after ? cursor : after;
      const page = await origin.messages.listMessages({ peerId, afterMs, cursor, count }, call);
      const { messages, nextCursor, hasMore } = page;
      return { message_list: messages.map(messageObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/message/stream",
    tag: "Messages",
    summary: "Receive messages as they come",
    description:
      "Server-sent events: a message in each, and comments while there is none. A client that comes back goes on where it was, by `Last-Event-ID` or `since`.",
    access: "required",
    params: v.object({
      to_user_id: idParam("Only the conversation with this person; 0 for everybody.", somebody),
      since: v.optional(
        textParam("Where to go on: the `id` of an event, or a message's `create_time`.", "1790000000123"),
      ),
    }),
    answer: v.object({}),
    events: messageSchema,
    async handle({ params, token, c }, { origin }) {
      const { headers, signal } = c.req.raw;
      // A proxy that gathers what it passes on would hold messages back.
      const events = { "content-type": streamContentType, "x-accel-buffering": "no" };
      if (c.req.method === "HEAD") return c.newResponse(null, 200, events);
      // A browser that reconnects by itself sends the URL that it was given first, and the header tells how far it came since.
      const since = headers.get("last-event-id") || params.since;
      const peerId = params.to_user_id > 0n ? String(params.to_user_id) : undefined;
      const stream = { token, query: { peer_id: peerId, since }, requestId: c.get("requestId"), signal };
      return c.newResponse(await origin.stream(streamPath, stream), 200, events);
    },
  }),
];
