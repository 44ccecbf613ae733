import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { profileImages } from "@flick/db/schema/user.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { UserService } from "@flick/proto/gen/flick/user/v1/user_pb.ts";
import { and, eq, inArray, or } from "drizzle-orm";

import type { Admission, StoredFile } from "../admission.ts";
import type { Context } from "../context.ts";
import { callerKey } from "../interceptors.ts";
import type { SweptUploads } from "../raw-sweep.ts";
import { sniffImage } from "./sniff.ts";
import { readSignature, type ImageKind } from "./update.ts";

/** Lets a picture be stored that is to be part of a profile. */
export function createPictureAdmission(admission: Admission): Pick<ServiceImpl<typeof UserService>, "admitPicture"> {
  return {
    async admitPicture({ field, head, signature }, { values }: HandlerContext) {
      readSignature(signature ?? "");
      const type = sniffImage(head);
      if (type) return admission.admit(values.get(callerKey).viewerId, type);
      throw flickError(
        Reason.NOT_AN_IMAGE,
        `${field}: this is not a picture that we can read (JPEG, PNG, WebP or GIF)`,
      );
    },
  };
}

/**
 * The pictures of these tickets, without those that are part of the profile already because the same call came before.
 *
 * @throws what an {@link Admission} throws.
 */
export async function findPictures(
  { db }: Pick<Context, "db">,
  admission: Admission,
  userId: number,
  tickets: Readonly<Record<ImageKind, string>>,
): Promise<(StoredFile & { kind: ImageKind })[]> {
  const pictures = (["avatar", "background"] as const).flatMap((kind) =>
    tickets[kind] === "" ? [] : [{ ...admission.open(tickets[kind], userId), kind }],
  );
  if (pictures.length === 0) return [];
  const ids = pictures.map(({ id }) => id);
  const rows = await db.select({ id: profileImages.id }).from(profileImages).where(inArray(profileImages.id, ids));
  const known = new Set(rows.map(({ id }) => id));
  const fresh = pictures.filter(({ id }) => !known.has(id));
  await Promise.all(fresh.map((picture) => admission.check(picture.kind, picture)));
  return fresh;
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
