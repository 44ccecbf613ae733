import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import * as v from "valibot";

import { endpoint } from "../endpoint.ts";
import { requireFeature } from "../features.ts";
import { textField, wholeField } from "../fields.ts";
import { userObject, userSchema } from "../objects.ts";
import { fileParam, idParam, textParam } from "../param-schemas.ts";
import { uploadFrom } from "../upload-request.ts";

/** Passwords are hashed one after another where they queue up, so these calls may take longer than a read. */
const hashingTimeoutMs = 20_000;

/** How long either may be is for the user service to say. */
const credentials = v.object({
  username: textParam(
    "1 to 32 characters. Names that differ only in letter case, in width or in what nobody sees are one name.",
    "zoë",
    { maxLength: 32 },
  ),
  password: textParam("6 to 32 characters.", "correct horse", { minLength: 6, maxLength: 32, format: "password" }),
});

const account = v.object({
  user_id: wholeField("The account's id.", 7_312_345_678_900_001),
  token: textField("Proves who calls, until it expires.", "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI3In0.c2ln"),
});

/** Accounts and profiles. */
export const userEndpoints = [
  endpoint({
    method: "POST",
    path: "/douyin/user/register",
    tag: "Accounts",
    summary: "Create an account",
    access: "public",
    params: credentials,
    limit: "register",
    answer: account,
    errors: [Reason.USERNAME_TAKEN, Reason.TURNED_OFF],
    async handle({ params, call }, { origin, config }) {
      requireFeature(config, "registration");
      const { userId, token } = await origin.users.register(params, { ...call, timeoutMs: hashingTimeoutMs });
      return { user_id: Number(userId), token };
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/user/login",
    tag: "Accounts",
    summary: "Sign in",
    access: "public",
    params: credentials,
    limit: "login",
    answer: account,
    errors: [Reason.WRONG_CREDENTIALS],
    async handle({ params, call }, { origin }) {
      const { userId, token } = await origin.users.login(params, { ...call, timeoutMs: hashingTimeoutMs });
      return { user_id: Number(userId), token };
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/user/logout",
    tag: "Accounts",
    summary: "Sign out",
    description: "The token that this is called with is refused from now on, everywhere within five seconds.",
    access: "required",
    params: v.object({}),
    answer: v.object({}),
    async handle({ call }, { origin }) {
      await origin.users.logout({}, call);
      return {};
    },
  }),

  endpoint({
    method: "POST",
    path: "/douyin/user/logout/all",
    tag: "Accounts",
    summary: "Sign out everywhere",
    description:
      "Every token that the caller was issued so far is refused from now on, everywhere within five seconds.",
    access: "required",
    params: v.object({}),
    answer: v.object({}),
    async handle({ call }, { origin }) {
      await origin.users.logoutEverywhere({}, call);
      return {};
    },
  }),

  endpoint({
    method: "GET",
    path: "/douyin/user",
    tag: "Accounts",
    summary: "Look at a profile",
    access: "required",
    params: v.object({ user_id: idParam("Whose; 0 for the caller's.", 7_312_345_678_900_001) }),
    answer: v.object({ user: userSchema }),
    errors: [Reason.USER_NOT_FOUND],
    async handle({ params, call }, { origin }) {
      const { user } = await origin.users.getUser({ userId: params.user_id }, call);
      return { user: userObject(user) };
    },
  }),

  // Pictures need multipart; a signature may come in any of the usual ways.
  endpoint({
    method: "POST",
    path: "/douyin/user/update",
    tag: "Accounts",
    summary: "Change one's profile",
    description: "`user` is the profile as it is now; a new picture shows when it is ready.",
    access: "required",
    params: v.object({
      signature: v.optional(
        textParam("What to say of oneself; empty for the default.", "One clip a day.", {
          minLength: 0,
          maxLength: 255,
        }),
      ),
    }),
    mayBeEmpty: "signature",
    files: v.object({
      avatar: v.optional(fileParam("A picture: JPEG, PNG, WebP or GIF.")),
      background: v.optional(fileParam("The picture behind the profile: JPEG, PNG, WebP or GIF.")),
    }),
    limit: "profile",
    answer: v.object({ user: userSchema }),
    errors: [Reason.USER_NOT_FOUND, Reason.NOT_AN_IMAGE],
    async handle({ params: { signature }, call }, { origin }) {
      const { user } = await origin.users.updateUser(signature === undefined ? {} : { signature }, call);
      return { user: userObject(user) };
    },
    async upload(c, { origin, maxUploadBytes }) {
      const { user } = await origin.uploadProfile(uploadFrom(c, "signature", maxUploadBytes));
      return { user: userObject(user) };
    },
  }),
];
