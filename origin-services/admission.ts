import { createHmac, timingSafeEqual } from "node:crypto";

import { idTime } from "@flick/db/id.ts";
import { flickError } from "@flick/proto/errors.ts";
import { Reason } from "@flick/proto/gen/flick/error/v1/error_pb.ts";
import type { AdmittedFile } from "@flick/proto/gen/flick/upload/v1/admitted_file_pb.ts";

import type { Context } from "./context.ts";
import { makeRawKey, rawKeyId, ticketMs, type RawFolder } from "./raw-key.ts";

/** For the gateway to begin its request. */
const putSeconds = 5 * 60;

/** A file in object storage that an upload brought. */
export interface StoredFile {
  id: number;
  rawKey: string;
}

/** Lets gateways store files of one kind straight in object storage, and knows them again. */
export interface Admission {
  /** @param viewerId 0 when nobody knows yet whose file it is. */
  admit(viewerId: number, contentType: string): Promise<Omit<AdmittedFile, "$typeName">>;
  /** The file of a ticket that was given here, to this viewer or to nobody yet. @throws INVALID_PARAMETER */
  open(ticket: string, viewerId: number): StoredFile;
  /** @throws INVALID_PARAMETER when the file is not in object storage, TOO_LARGE, with which it is deleted. */
  check(field: string, file: StoredFile): Promise<void>;
}

/**
 * Whoever stores a file, the key was made here: a ticket is the key and the viewer, sealed with HMAC-SHA256 under a secret that only the
 * origins know. So nothing has to be remembered between the two calls, and any origin understands the ticket of another.
 */
export function createAdmission(
  { objects, newId, now }: Pick<Context, "objects" | "newId" | "now">,
  options: { folder: RawFolder; maxFileBytes: number; secret: string },
): Admission {
  const { folder, maxFileBytes, secret } = options;
  const seal = (rawKey: string, viewerId: number) =>
    createHmac("sha256", secret).update(`flick upload ticket\n${rawKey}\n${viewerId}`).digest("base64url");

  return {
    async admit(viewerId, contentType) {
      const rawKey = makeRawKey(folder, newId());
      const [putUrl, deleteUrl] = await Promise.all([
        objects.putUrl(rawKey, contentType, putSeconds),
        objects.deleteUrl(rawKey, ticketMs / 1000),
      ]);
      const ticket = [rawKey, viewerId, seal(rawKey, viewerId)].join(":");
      return { ticket, contentType, putUrl, deleteUrl, maxBytes: BigInt(maxFileBytes) };
    },

    open(ticket, viewerId) {
      const [rawKey = "", holder = "", sealed = ""] = ticket.split(":");
      const id = rawKeyId(rawKey);
      const genuine = id !== null && isSame(sealed, seal(rawKey, Number(holder))) && rawKey.startsWith(`${folder}/`);
      const mine = holder === "0" || Number(holder) === viewerId;
      if (!genuine || !mine || idTime(id) < now() - ticketMs) {
        throw flickError(Reason.INVALID_PARAMETER, "the upload is not yours, or too old: send the file again");
      }
      return { id, rawKey };
    },

    async check(field, { rawKey }) {
      const found = await objects.head(rawKey);
      if (!found) throw flickError(Reason.INVALID_PARAMETER, `${field}: the file is gone: send it again`);
      if (found.size <= maxFileBytes) return;
      await objects.delete(rawKey);
      throw flickError(Reason.TOO_LARGE, `${field}: at most ${maxFileBytes} bytes`);
    },
  };
}

function isSame(given: string, right: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
