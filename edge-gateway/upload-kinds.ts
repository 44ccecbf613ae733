import type { Client } from "@connectrpc/connect";
import type { UpdateUserResponse, UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import type { PublishResponse, VideoService } from "@flick/proto/gen/flick/video/v1/video_pb.ts";

import type { UploadKind } from "./upload.ts";

/** Publishes a video: `data` (the file) and `title`. */
export function videoUpload(
  videos: Pick<Client<typeof VideoService>, "admitVideo" | "publish">,
): UploadKind<PublishResponse> {
  return {
    fileFields: ["data"],
    text: "title",
    assumedLength: 1024 ** 3,
    admit: ({ head }, title, call) => videos.admitVideo({ head, ...(title === undefined ? {} : { title }) }, call),
    commit: (tickets, title = "", call) => videos.publish({ ticket: tickets.get("data") ?? "", title }, call),
  };
}

/** Changes the viewer's profile: `avatar` and `background` (files) and `signature`, each of which may be missing. */
export function profileUpload(
  users: Pick<Client<typeof UserService>, "admitPicture" | "updateUser">,
): UploadKind<UpdateUserResponse> {
  return {
    fileFields: ["avatar", "background"],
    text: "signature",
    assumedLength: 32 * 1024 ** 2,
    admit: (file, signature, call) =>
      users.admitPicture({ ...file, ...(signature === undefined ? {} : { signature }) }, call),
    commit(tickets, signature, call) {
      const [avatar = "", background = ""] = [tickets.get("avatar"), tickets.get("background")];
      return users.updateUser({ avatar, background, ...(signature === undefined ? {} : { signature }) }, call);
    },
  };
}
