import { create, toJson } from "@bufbuild/protobuf";
import { profileImages } from "@flick/db/schema/user.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import { UpdateUserResponseSchema } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { profileUploadPath } from "@flick/proto/upload.ts";
import { and, eq, inArray, or } from "drizzle-orm";

import type { Context } from "../context.ts";
import type { SweptUploads } from "../raw-sweep.ts";
import type { UploadKind } from "../upload.ts";
import { sniffBytes, sniffImage } from "./sniff.ts";
import { readSignature, updateProfile, type ImageKind, type ProfileUpdate } from "./update.ts";

const kinds: readonly ImageKind[] = ["avatar", "background"];

/** The upload that changes a profile: pictures, and with them its text. */
export function createProfileUpload(
  context: Context,
  { maxFileBytes }: { maxFileBytes: number },
): UploadKind<ProfileUpdate> {
  return {
    path: profileUploadPath,
    fileFields: kinds,
    maxFileBytes,
    folder: "raw-images",
    sniffBytes,
    sniff(head, field) {
      const type = sniffImage(head);
      if (type) return type;
      throw flickError(
        Reason.NOT_AN_IMAGE,
        `${field}: this is not a picture that we can read (JPEG, PNG, WebP or GIF)`,
      );
    },
    check(fields) {
      readSignature(fields.get("signature") ?? "");
    },
    read({ fields, files }) {
      const text = fields.get("signature");
      const images = kinds.flatMap((kind) => {
        const file = files.get(kind);
        return file ? [{ ...file, kind }] : [];
      });
      if (text === undefined && images.length === 0) {
        throw flickError(Reason.INVALID_PARAMETER, "there is nothing to change: send avatar, background or signature");
      }
      return { images, signature: text === undefined ? undefined : readSignature(text) };
    },
    async commit(userId, update) {
      await updateProfile(context, userId, update);
      const { users } = await context.clients.user.batchGetUsers({
        userIds: [BigInt(userId)],
        viewerId: BigInt(userId),
      });
      const [user] = users;
      return toJson(UpdateUserResponseSchema, create(UpdateUserResponseSchema, user ? { user } : {}));
    },
  };
}

/** An upload stays until its job has ended, and that of a dead letter beyond. */
export function sweptProfileUploads({ db }: Pick<Context, "db">): SweptUploads {
  return {
    folder: "raw-images",
    async wanted(ids) {
      const unfinished = or(inArray(profileImages.status, ["uploaded", "processing"]), eq(profileImages.jobDead, true));
      const rows = await db
        .select({ rawKey: profileImages.rawKey })
        .from(profileImages)
        .where(and(inArray(profileImages.id, ids), unfinished));
      return rows.map((row) => row.rawKey);
    },
  };
}
