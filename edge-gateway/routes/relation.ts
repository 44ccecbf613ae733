import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { pageFields } from "../fields.ts";
import { friendObject, friendSchema, userObject, userSchema } from "../objects.ts";
import { actionParam, idParam, pageParams, requiredIdParam } from "../param-schemas.ts";

const listParams = v.object({ user_id: idParam("Whose list; 0 for the caller's."), ...pageParams(100) });
const userList = v.object({ user_list: v.array(userSchema), ...pageFields });

/** Follows, and the three lists of people that come of them. */
export const relationEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/relation/action",
    tag: "Relations",
    summary: "Follow or unfollow somebody",
    description: "What already holds succeeds and changes nothing.",
    access: "required",
    params: v.object({
      to_user_id: requiredIdParam("Whom."),
      action_type: actionParam("follow", "unfollow"),
    }),
    limit: "follow",
    answer: v.object({}),
    errors: [Reason.USER_NOT_FOUND, Reason.SELF_FOLLOW],
    async handle({ params, call }, { origin }) {
      const follow = params.action_type === "follow";
      await origin.relations.setFollow({ userId: params.to_user_id, follow }, call);
      return {};
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/relation/follow/list",
    tag: "Relations",
    summary: "List whom somebody follows",
    description: "Latest first.",
    access: "required",
    params: listParams,
    answer: userList,
    async handle({ params: { user_id: userId, cursor, count }, call }, { origin }) {
      const { users, nextCursor, hasMore } = await origin.relations.listFollowing({ userId, cursor, count }, call);
      return { user_list: users.map(userObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/relation/follower/list",
    tag: "Relations",
    summary: "List who follows somebody",
    description: "Latest first.",
    access: "required",
    params: listParams,
    answer: userList,
    async handle({ params: { user_id: userId, cursor, count }, call }, { origin }) {
      const { users, nextCursor, hasMore } = await origin.relations.listFollowers({ userId, cursor, count }, call);
      return { user_list: users.map(userObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/relation/friend/list",
    tag: "Relations",
    summary: "List somebody's friends",
    description: "Friends follow each other. Latest first, each with the latest message between the two.",
    access: "required",
    params: listParams,
    answer: v.object({ user_list: v.array(friendSchema), ...pageFields }),
    async handle({ params: { user_id: userId, cursor, count }, call }, { origin }) {
      const { friends, nextCursor, hasMore } = await origin.relations.listFriends({ userId, cursor, count }, call);
      return { user_list: friends.map(friendObject), next_cursor: Number(nextCursor), has_more: hasMore };
    },
  }),
];
